"""The wire: gRPC services in front of the coordinator's runtime.

    client frames ─▶ session · unary · safety ─▶ requests (validated events) ─▶ runtime
    runtime ─▶ outlets (session · unary) ─▶ translate ─▶ answers, one writer per stream, stops first
    machine changes ─▶ watch.FloorFeed ─▶ WatchFloor streams and the web page

This package decides nothing about zones. It owns what is true of every call: input is bounded and validated before the
core sees it, every error carries a reason and a remedy, a client that does not read costs a bounded amount of memory,
and a stop overtakes everything that is queued. It imports
the core, the floor and of the runtime only the shape of an outlet (`port` says what it needs in return), never a store.
"""

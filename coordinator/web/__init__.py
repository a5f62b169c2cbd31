"""The live floor map: one static page, the floor and a stream of what changes, over plain HTTP.

Read-only by construction: nothing here can submit an event to the core. Imports the generated protocol and aiohttp;
never the core's machine, the store or the runtime.
"""

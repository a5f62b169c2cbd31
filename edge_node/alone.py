"""One node at a time behind one sink: two would mix their lines and put each other's files aside.

Rule owned: the kernel drops the lock with the process, however it ends. A lock that cannot be made (a full disk, no
permission) is said and not insisted on: watching matters more. Never imports another part of the node.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

FILE_MODE = 0o640


class AlreadyRunning(RuntimeError):
    """Another node runs with the same sink."""


@contextmanager
def alone(sink: Path) -> Iterator[None]:
    """Holds `SINK.lock` meanwhile. Raises AlreadyRunning when another process does."""
    path = sink.with_name(sink.name + ".lock")
    fd = -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise AlreadyRunning(f"{path} is held: a node with the sink {sink} runs already") from None
    except OSError as error:
        log.warning("%s cannot be locked (%s); a second node with this sink would go unnoticed", path, error.strerror)
    try:
        yield
    finally:
        if fd >= 0:
            os.close(fd)

"""A coordinator's store alone in a process: commits numbered records for ever and prints each number when committed.

Run as `python committer.py PATH`; killed by its test with SIGKILL.
"""

from __future__ import annotations

import asyncio
import sys

from coordinator.store.sqlite import SqliteStore


async def main(path: str) -> None:
    store = SqliteStore(path)
    await store.lead()
    number = sum(key.startswith("a/") for key in (await store.load()).records)
    while True:
        # Two records a commit: a torn transaction would show one without the other.
        await store.commit({f"a/{number:06d}": b"x" * 200, "last": str(number).encode()})
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        number += 1


asyncio.run(main(sys.argv[1]))

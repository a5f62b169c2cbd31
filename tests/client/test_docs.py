"""The SDK's guide: every Python block on the page runs, in order, against a real coordinator."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import threading
import time
from pathlib import Path
from typing import Any

import zonelock_client
from zonelock_client.testing import TestServer

ADDRESS = "localhost:7600"


def blocks(page: str) -> list[tuple[int, str]]:
    """The page's Python blocks with the line that each begins on."""
    found = re.finditer(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [(page.count("\n", 0, match.start(1)) + 1, match.group(1)) for match in found]


async def test_every_example_of_the_guide_runs(repository: Path) -> None:
    page = (repository / "docs" / "sdk.md").read_text("utf-8")
    examples = blocks(page)
    assert len(examples) > 8
    steps = iter(range(1_000))
    names: dict[str, Any] = {
        "asyncio": asyncio,
        "time": time,
        "at_goal": lambda: next(steps) % 3 == 2,
        "command_motors": lambda: None,
        "stop_motors": lambda halt: None,
        "zones_under_the_scanner": lambda: ["Z_33"],
        "drive_enable": threading.Event(),
        "drive": lambda grant: asyncio.sleep(0),
    }
    names["drive_enable"].set()
    for line, source in examples:
        async with TestServer() as server:
            here = "\n" * (line - 1) + source.replace(ADDRESS, server.target)
            code = compile(here, "docs/sdk.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)  # noqa: S307 - our own page
            if inspect.isawaitable(result):
                await result


def test_the_guide_names_every_public_thing_of_the_package(repository: Path) -> None:
    page = (repository / "docs" / "sdk.md").read_text("utf-8")
    public = {
        name
        for name, value in vars(zonelock_client).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    }
    missing = sorted(name for name in public if f"`{name}`" not in page)
    assert not missing

"""One small file that is either the old one or the new one, whatever happens while it is written.

Written to a temporary file beside it, synced, renamed over it, and the folder synced. Knows nothing of what is inside.
"""

from __future__ import annotations

import os
from pathlib import Path


def replace_file(path: Path, text: str) -> None:
    """Blocking: two disk syncs. Raises OSError; the old file is then still there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def set_aside(path: Path) -> Path:
    """Keeps a file that cannot be read under another name, for a person to look at."""
    aside = path.with_suffix(".damaged")
    path.replace(aside)
    return aside

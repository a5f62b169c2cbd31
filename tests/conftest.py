"""Fixtures that several parts' tests share. A test that needs something the machine may lack asks here, and is skipped
with the reason.

Never imports the product: a part that does not import must not take every other part's tests down with it.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
# Real maps and recordings are not part of the repository; they may lie beside a checkout.
SHARED_DATA = Path(os.environ.get("ZONELOCK_SHARED_DATA", ROOT.parent / "shared" / "data"))

# A busy machine must not fail a property, so there is no deadline; a failure prints the blob that replays it.
settings.register_profile("zonelock", deadline=None, print_blob=True)
settings.load_profile("zonelock")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Finds a file of the real input data, as in `shared_data("mapf/x.map")`; skips the test where it is absent."""

    def find(name: str) -> Path:
        path = SHARED_DATA / name
        if not path.exists():
            pytest.skip(f"no {name} under {SHARED_DATA}: set ZONELOCK_SHARED_DATA to the folder that holds it")
        return path

    return find


@pytest.fixture
def free_port() -> int:
    """A port on 127.0.0.1 that was free a moment ago. A server that can bind port 0 itself should do that instead."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def etcd_binary() -> Path:
    """The etcd server. `make test` installs it or fails first; a bare pytest run without it skips."""
    found = shutil.which("etcd")
    if found is None:
        pytest.skip("no etcd on PATH: apt-get install etcd-server etcd-client")
    return Path(found)


@pytest.fixture(scope="session")
def prometheus_binary() -> Path:
    """The Prometheus server. `make test` installs it; a bare pytest run without it skips."""
    return _of_prometheus("prometheus")


@pytest.fixture(scope="session")
def promtool_binary() -> Path:
    """Prometheus' checker of rules and configurations."""
    return _of_prometheus("promtool")


def _of_prometheus(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on PATH: apt-get install prometheus")
    return Path(found)


@pytest.fixture(scope="session")
def chromium_binary() -> Path:
    """A browser that runs headless, for the test of the floor page."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    pytest.skip("no chromium on PATH: apt-get install chromium")

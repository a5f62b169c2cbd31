"""The command line over TLS, as processes' options against a real coordinator that asks for certificates."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from certificates import Authority
from cli.conftest import Run, failed, said
from cli.plant import FLOOR, Plant, error_of, zonelock
from zonelock_client import LinkLost, Operator, RequestError, connect
from zonelock_client.testing import TestServer

from coordinator.store.local_etcd import LocalEtcd
from coordinator.tls import TlsFiles

PROGRAM = Path(sys.executable).parent / "zonelock"
"""For commands that want a main thread of their own."""


@dataclass(frozen=True)
class Secured:
    server: TestServer
    authority: Authority
    options: tuple[str, ...]

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        ca, cert, key = (Path(path).read_bytes() for path in self.options[1::2])
        return grpc.ssl_channel_credentials(ca, key, cert)


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Secured]:
    authority = Authority(tmp_path)
    own, client = authority.issue("coordinator"), authority.issue("client")
    files = ("--tls-ca", str(authority.ca), "--tls-cert", str(client.cert), "--tls-key", str(client.key))
    async with TestServer(tls_cert=own.cert, tls_key=own.key, tls_client_ca=authority.ca) as server:
        yield Secured(server, authority, files)


async def test_a_command_works_with_the_right_certificates(secured: Secured, run: Run) -> None:
    to = ("--server", secured.server.target)
    shown = said(await asyncio.to_thread(run, "status", *to, *secured.options, "-o", "json"))
    assert shown["zones"]
    held = await asyncio.create_subprocess_exec(PROGRAM, "hold", "Z_31", *to, *secured.options, "--", "true")
    assert await held.wait() == 0
    # What one command was given, the next one does not have.
    error = failed(await asyncio.to_thread(run, "status", *to, "-o", "json"))
    assert "speaks TLS, and we speak plainly" in error["message"] and "--tls-ca" in error["remedy"]


async def test_what_the_other_side_objects_to_is_said(secured: Secured, run: Run, tmp_path: Path) -> None:
    to = ("status", "--server", secured.server.target, "-o", "json")
    stranger = Authority(tmp_path, "stranger")
    theirs = stranger.issue("client")
    error = failed(await asyncio.to_thread(run, *to, *secured.options[:2]))
    assert "wants a client certificate" in error["message"]
    error = failed(await asyncio.to_thread(run, *to, "--tls-ca", str(stranger.ca)))
    assert f"not signed by ca = {str(stranger.ca)!r}" in error["message"]
    pair = ("--tls-cert", str(theirs.cert), "--tls-key", str(theirs.key))
    error = failed(await asyncio.to_thread(run, *to, *secured.options[:2], *pair))
    assert "refuses our certificate" in error["message"]


def test_files_that_cannot_be_right_are_refused_before_dialling(run: Run, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    mine, other = authority.issue("mine"), authority.issue("other")
    error = failed(run("status", "-o", "json", "--tls-ca", "gone.pem", "--tls-cert", str(mine.cert)))
    assert error["exit"] == 6 and error["reason"] == "INVALID_CERTIFICATE"
    assert any("--tls-ca = 'gone.pem': cannot be read" in problem for problem in error["problems"])
    assert any("given without --tls-key" in problem for problem in error["problems"])
    error = failed(run("status", "-o", "json", "--tls-cert", str(mine.cert), "--tls-key", str(other.key)))
    assert any("does not belong" in problem for problem in error["problems"])
    assert any("--tls-ca is not given" in problem for problem in error["problems"])


async def test_the_sdk_drives_over_tls_and_not_without(secured: Secured) -> None:
    target = secured.server.target
    async with (
        connect(target, agent_id="AGV_07", credentials=secured.credentials) as agent,
        agent.hold("Z_31", expected_ms=8_000) as grant,
    ):
        await grant.cleared()
    async with Operator(target, operator="mia", credentials=secured.credentials) as operator:
        assert len(await operator.zones()) == 5
    with pytest.raises((LinkLost, RequestError)):
        async with connect(target, agent_id="AGV_08", connect_timeout_s=0.5):
            pass


async def test_simulated_vehicles_drive_over_tls(secured: Secured) -> None:
    words = ("sim", "--server", secured.server.target, *secured.options, "--agents", "1", "--seconds", "2", "--json")
    process = await asyncio.create_subprocess_exec(PROGRAM, *words, stdout=asyncio.subprocess.PIPE)
    report = json.loads((await process.communicate())[0])
    assert report["grants"] >= 1 and report["collisions"] == 0


@pytest.fixture
def guarded(etcd_binary: Path, tmp_path: Path) -> Iterator[tuple[LocalEtcd, Authority]]:
    """One etcd that wants certificates."""
    authority = Authority(tmp_path, "etcd")
    pair = authority.issue("member")
    with LocalEtcd(1, tls=TlsFiles(authority.ca, pair.cert, pair.key)) as cluster:
        yield cluster, authority


def test_a_coordinator_serves_from_an_etcd_that_wants_certificates_or_says_what_is_wrong(
    guarded: tuple[LocalEtcd, Authority], tmp_path: Path
) -> None:
    cluster, authority = guarded
    pair, stranger = authority.issue("coordinator"), Authority(tmp_path, "stranger")
    (tmp_path / "floor.yaml").write_text(FLOOR, encoding="utf-8")
    config = tmp_path / "zonelock.yaml"
    settings = {
        "floor": "floor.yaml",
        "store": f"etcd:https://{cluster.endpoints[0]}",
        "etcd_ca": authority.ca.name,
        "etcd_cert": pair.cert.name,
        "etcd_key": pair.key.name,
    }
    write(config, settings)
    plant = Plant(tmp_path).start("--config", str(config), "--store", settings["store"])
    assert plant.ready["leading"] is True
    assert plant.end() == 0

    write(config, settings | {"etcd_ca": stranger.ca.name})
    error = error_of(zonelock("serve", "-o", "json", "--config", str(config), "--store-wait-s", "0"))
    assert error["exit"] == 3 and "etcd_ca" in error["remedy"]
    assert f"not signed by ca = {str(stranger.ca)!r}" in error["problems"][0]


def write(path: Path, settings: dict[str, str]) -> None:
    path.write_text("".join(f"{name}: {value}\n" for name, value in settings.items()), encoding="utf-8")

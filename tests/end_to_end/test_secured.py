"""A whole site under TLS: coordinators that ask everybody for certificates, over an etcd that asks for certificates and
a login. The leader goes, the standby takes over, and the agent drives on without noticing more than a pause.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from certificates import Authority
from etcd_cluster import login_steps
from zonelock_client import Operator, connect
from zonelock_client.testing import FLOOR

from coordinator import config
from coordinator.app import Coordinator
from coordinator.floor import Floor
from coordinator.store.local_etcd import LocalEtcd
from coordinator.tls import TlsFiles

PASSWORD = "for-the-coordinators"


@dataclass(frozen=True)
class Site:
    etcd: LocalEtcd
    authority: Authority
    folder: Path

    @asynccontextmanager
    async def coordinator(self, name: str) -> AsyncIterator[Coordinator]:
        pair = self.authority.issue(name)
        values = {
            "floor": "zonelock_client.testing.FLOOR",
            "name": name,
            "store": "etcd:" + ",".join(f"https://{endpoint}" for endpoint in self.etcd.endpoints),
            "etcd_ca": self.authority.ca,
            "etcd_cert": pair.cert,
            "etcd_key": pair.key,
            "etcd_user": "zonelock",
            "etcd_password_file": self.folder / "password",
            "tls_cert": pair.cert,
            "tls_key": pair.key,
            "tls_client_ca": self.authority.ca,
            "listen": "127.0.0.1:0",
            "web": "",
            "assume_empty": True,
            "data_dir": self.folder / name,
        }
        coordinator = Coordinator(config.make(values), Floor.parse(FLOOR, "FLOOR"))
        await coordinator.start()
        try:
            await coordinator.ready()
            yield coordinator
        finally:
            await coordinator.stop()

    def credentials(self) -> grpc.ChannelCredentials:
        pair = self.authority.issue("agents")
        return grpc.ssl_channel_credentials(
            self.authority.ca.read_bytes(), pair.key.read_bytes(), pair.cert.read_bytes()
        )


@pytest.fixture
def site(etcd_binary: Path, tmp_path: Path) -> Iterator[Site]:
    authority = Authority(tmp_path)
    pair, admin = authority.issue("member"), authority.issue("root")
    (tmp_path / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    with LocalEtcd(1, tls=TlsFiles(authority.ca, pair.cert, pair.key)) as etcd:
        for words in login_steps("/zonelock/", PASSWORD):
            files = (f"--cacert={authority.ca}", f"--cert={admin.cert}", f"--key={admin.key}")
            command = ["etcdctl", f"--endpoints=https://{etcd.endpoints[0]}", *files, *words]
            environment = {**os.environ, "ETCDCTL_API": "3"}
            subprocess.run(command, check=True, capture_output=True, timeout=20, env=environment)
        yield Site(etcd, authority, tmp_path)


async def test_a_secured_site_survives_its_leader(site: Site) -> None:
    async with AsyncExitStack() as stack:
        leader = await stack.enter_async_context(site.coordinator("one"))
        heir = await stack.enter_async_context(site.coordinator("two"))
        assert leader.runtime.leading and not heir.runtime.leading
        credentials = site.credentials()
        target = f"{leader.target},{heir.target}"
        agent = await stack.enter_async_context(connect(target, agent_id="AGV_07", credentials=credentials))
        async with agent.hold("Z_31", expected_ms=30_000) as grant:
            await leader.stop()
            await heir.leading()
            # The same grant, by the other coordinator: it can be given back there, and only there.
            await grant.cleared()
        async with agent.hold("Z_32", expected_ms=8_000) as grant:
            await grant.cleared()
        async with Operator(heir.target, operator="mia", credentials=credentials) as operator:
            assert await operator.stops() == []


async def test_a_standby_is_asked_to_stop_the_floor_and_the_leader_records_it_over_tls(site: Site) -> None:
    async with site.coordinator("one") as leader, site.coordinator("two") as standby:
        async with Operator(standby.target, operator="mia", credentials=site.credentials()) as operator:
            stop = await operator.trip_stop("drill", floor=True)
        assert stop.stop_id in {known.stop_id for known in leader.runtime.known_stops()}

"""A real etcd that wants certificates, and one that wants a login: the store works, and says what is wrong when not."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from certificates import Authority
from etcd_cluster import fresh_prefix, login_steps

from coordinator.store.etcd import EtcdStore, _quietly, version_warnings
from coordinator.store.etcd_client import EndpointStatus, EtcdClient
from coordinator.store.etcd_login import EtcdAccess, LoginRefused
from coordinator.store.local_etcd import LocalEtcd
from coordinator.store.port import CommitUncertain, StoreUnavailable
from coordinator.tls import TlsFiles

TOKEN_TTL_S = 2
LEASE_MS = 30_000
"""A busy machine must not lose the lead in the middle of a test that is about something else."""
PASSWORD = "for-the-coordinators"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> TlsFiles:
    pair = authority.issue("member")
    return TlsFiles(authority.ca, pair.cert, pair.key)


@pytest.fixture(scope="module")
def guarded(etcd_binary: Path, tls: TlsFiles) -> Iterator[LocalEtcd]:
    """Three members with --client-cert-auth, among themselves too."""
    with LocalEtcd(3, tls=tls) as cluster:
        yield cluster


async def test_the_ledger_is_kept_over_mutual_tls(guarded: LocalEtcd, authority: Authority) -> None:
    pair = authority.issue("coordinator")
    access = EtcdAccess(TlsFiles(authority.ca, pair.cert, pair.key))
    store = EtcdStore([f"https://{e}" for e in guarded.endpoints], prefix=fresh_prefix(), access=access)
    try:
        await store.lead()
        await store.load()
        await store.commit({"unit/Z_1/0": b"held"})
        await store.refence()
        assert (await store.load()).records == {"unit/Z_1/0": b"held"}
        assert all(member.reachable for member in (await store.status()).endpoints)
    finally:
        await store.close()


async def problem_of(client: EtcdClient) -> str:
    """What the only member suffers from, once there was time to find out: a busy machine gets no answer at first."""
    while True:
        (status,) = await client.statuses()
        assert not status.reachable, status
        if status.problem != "no answer":
            return status.problem


async def test_members_that_refuse_us_say_why(guarded: LocalEtcd, authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    pair = stranger.issue("coordinator")
    cases = (
        (None, "speaks TLS, and we speak plainly"),
        (TlsFiles(authority.ca), "wants a client certificate"),
        (TlsFiles(stranger.ca), f"not signed by ca = {str(stranger.ca)!r}"),
        (TlsFiles(authority.ca, pair.cert, pair.key), "refuses our certificate"),
    )
    for files, said in cases:
        client = EtcdClient(guarded.endpoints[:1], access=EtcdAccess(files))
        try:
            assert said in await problem_of(client)
            with pytest.raises(StoreUnavailable):
                await client.read_key(b"anything")
        finally:
            await client.close()


async def test_a_member_without_tls_is_told_from_one_that_is_down(etcd_binary: Path, tls: TlsFiles) -> None:
    async with LocalEtcd(1) as plain:
        client = EtcdClient(plain.endpoints, access=EtcdAccess(tls))
        assert "does not speak TLS" in await problem_of(client)
        await asyncio.to_thread(plain.kill, 0)
        (status,) = await client.statuses()
        assert status.problem == "no answer"
        await client.close()


async def test_a_certificate_that_is_replaced_on_disk_is_used_at_the_next_connection(
    guarded: LocalEtcd, authority: Authority, tmp_path: Path
) -> None:
    good, bad = authority.issue("renewed"), Authority(tmp_path, "stranger").issue("coordinator")
    client = EtcdClient(guarded.endpoints, access=EtcdAccess(TlsFiles(authority.ca, bad.cert, bad.key)))
    try:
        with pytest.raises(StoreUnavailable, match="no connection"):
            await client.read_key(b"anything")
        bad.cert.write_bytes(good.cert.read_bytes())  # half renewed: still refused, and nothing breaks
        with pytest.raises(StoreUnavailable):
            await client.read_key(b"anything")
        bad.key.write_bytes(good.key.read_bytes())
        while True:
            try:
                await client.read_key(b"anything")
            except StoreUnavailable:
                continue
            return
    finally:
        await client.close()


class Etcdctl:
    """The administrator's tool against one member."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint, self.login = endpoint, ""

    def __call__(self, *words: str, given: str | None = None) -> str:
        command = ["etcdctl", f"--endpoints={self._endpoint}", *words]
        if self.login:
            command.append(f"--user={self.login}")
        run = subprocess.run(
            command,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
            env={**os.environ, "ETCDCTL_API": "3"},
        )
        assert run.returncode == 0, run.stderr
        return run.stdout


@pytest_asyncio.fixture
async def locked(etcd_binary: Path, tmp_path: Path) -> AsyncIterator[tuple[LocalEtcd, Etcdctl]]:
    """A member on kept data with authentication: `zonelock` may read and write under zonelock/ and nothing else."""
    async with LocalEtcd(1, tmp_path / "etcd", flags=["--auth-token-ttl", str(TOKEN_TTL_S)]) as cluster:
        ctl = Etcdctl(cluster.endpoints[0])
        for words in login_steps("zonelock/", PASSWORD):
            await asyncio.to_thread(ctl, *words)
        ctl.login = "root:for-root"
        yield cluster, ctl


def opened(
    cluster: LocalEtcd, *, user: str = "zonelock", password: str = PASSWORD, prefix: str = "zonelock/"
) -> EtcdStore:
    return EtcdStore(
        cluster.endpoints, prefix=prefix, access=EtcdAccess(None, user, lambda: password), lease_ms=LEASE_MS
    )


async def test_a_user_leads_commits_and_resigns(locked: tuple[LocalEtcd, Etcdctl]) -> None:
    cluster, ctl = locked
    store = opened(cluster)
    await store.lead()
    await store.load()
    await store.commit({"unit/Z_1/0": b"held"})
    await store.close()
    kept = json.loads(await asyncio.to_thread(ctl, "get", "--prefix", "zonelock/", "--keys-only", "-w", "json"))
    assert len(kept["kvs"]) == 2, "the record and the tick; the leader key is gone with its lease"


async def test_work_behind_a_commit_that_is_cancelled_before_its_first_step_leaves_nothing_behind() -> None:
    async def renew(lease: int) -> None:
        raise AssertionError(f"lease {lease} was renewed although the store closed first")

    task = asyncio.create_task(_quietly("renew the lease", partial(renew, 7)))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    gc.collect()  # a coroutine that never began is a warning, and so a failure, here


async def until_committed(store: EtcdStore, writes: dict[str, bytes | None], *, unless: str = "token") -> None:
    """Tries on while the member starts or is slow; what is refused in these words is raised."""
    while True:
        try:
            await store.commit(writes)
        except StoreUnavailable as error:
            if unless in str(error):
                raise
        except CommitUncertain:
            await store.refence()
            await store.load()
        else:
            return


async def test_a_token_that_ended_is_replaced_in_the_middle_of_a_write(locked: tuple[LocalEtcd, Etcdctl]) -> None:
    cluster, ctl = locked
    store = opened(cluster)
    try:
        await store.lead()
        await store.load()
        # Changing anybody's rights makes every token's revision old: etcd refuses the next transaction unexecuted.
        await asyncio.to_thread(ctl, "user", "grant-role", "root", "coordinator")
        await store.commit({"unit/Z_1/0": b"one"})
        # A member that restarts has forgotten every token.
        await asyncio.to_thread(cluster.kill, 0)
        cluster.start_member(0)
        await until_committed(store, {"unit/Z_1/0": b"two"})
        assert (await store.load()).records == {"unit/Z_1/0": b"two"}
    finally:
        await store.close()


async def test_a_password_can_be_changed_under_a_running_coordinator(locked: tuple[LocalEtcd, Etcdctl]) -> None:
    cluster, ctl = locked
    written = [PASSWORD]
    access = EtcdAccess(None, "zonelock", lambda: written[-1])
    store = EtcdStore(cluster.endpoints, prefix="zonelock/", access=access, lease_ms=LEASE_MS)
    try:
        await store.lead()
        await store.load()
        await asyncio.to_thread(ctl, "user", "passwd", "--interactive=false", "zonelock", given="another")
        with pytest.raises(StoreUnavailable, match="etcd_password_file"):
            await until_committed(store, {"unit/Z_1/0": b"held"}, unless="etcd_password_file")
        written.append("another")
        await until_committed(store, {"unit/Z_1/0": b"held"}, unless="etcd_password_file")
    finally:
        await store.close()


async def test_a_token_that_expired_is_replaced(locked: tuple[LocalEtcd, Etcdctl]) -> None:
    cluster, _ = locked
    client = EtcdClient(cluster.endpoints, access=EtcdAccess(None, "zonelock", lambda: PASSWORD))
    try:
        await client.read_key(b"zonelock/leader")
        first = client.token
        await asyncio.sleep(TOKEN_TTL_S + 2)  # nothing to wait for: whoever looks at a token prolongs it
        await client.read_key(b"zonelock/leader")
        assert first and client.token not in ("", first)
    finally:
        await client.close()


async def test_a_standby_with_a_login_takes_over(locked: tuple[LocalEtcd, Etcdctl]) -> None:
    cluster, _ = locked
    first, second = opened(cluster), opened(cluster)
    try:
        epoch = await first.lead()
        heir = asyncio.create_task(second.lead())
        await first.load()
        await first.commit({"unit/Z_1/0": b"held"})
        await first.close()
        assert await heir > epoch
        assert (await second.load()).records == {"unit/Z_1/0": b"held"}
    finally:
        await second.close()


async def test_a_wrong_password_ends_the_start_and_names_the_field(locked: tuple[LocalEtcd, Etcdctl]) -> None:
    cluster, _ = locked
    store = opened(cluster, password="guessed")
    try:
        with pytest.raises(LoginRefused, match=r"etcd_user = 'zonelock'.*invalid user ID or password") as refused:
            await store.lead()
        assert "guessed" not in str(refused.value) and "etcd_password_file" in str(refused.value)
    finally:
        await store.close()


async def test_no_login_and_a_foreign_prefix_say_what_to_do(locked: tuple[LocalEtcd, Etcdctl]) -> None:
    cluster, _ = locked
    for access, said in (
        (EtcdAccess(), "etcd_user and etcd_password_file"),
        (EtcdAccess(None, "zonelock", lambda: PASSWORD), "grant-permission"),
    ):
        client = EtcdClient(cluster.endpoints, access=access)
        try:
            with pytest.raises(StoreUnavailable, match=said):
                await client.read_key(b"somebody-elses/leader")
        finally:
            await client.close()


def test_a_password_is_never_shown() -> None:
    assert PASSWORD not in repr(EtcdAccess(None, "zonelock", lambda: PASSWORD))


async def test_a_login_for_an_etcd_without_authentication_says_so(etcd_binary: Path) -> None:
    async with LocalEtcd(1) as cluster:
        store = opened(cluster)
        with pytest.raises(LoginRefused, match=r"authentication is not enabled\): run `etcdctl auth enable`, or"):
            await store.lead()
        await store.close()


def test_old_releases_are_told_in_one_sentence_each(caplog: pytest.LogCaptureFixture) -> None:
    members = [
        EndpointStatus("a:1", reachable=True, version="3.4.23"),
        EndpointStatus("b:1", reachable=True, version="3.5.28"),
        EndpointStatus("c:1", reachable=True, version="3.4.23"),
        EndpointStatus("d:1", reachable=False),
    ]
    (sentence,) = version_warnings(members)
    assert sentence.startswith("etcd 3.4.23 at a:1, c:1 works") and "3.5.28 / 3.6.9" in sentence


async def test_an_old_release_is_warned_of_once(
    guarded: LocalEtcd, tls: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="coordinator.store.etcd")
    store = EtcdStore(guarded.endpoints, prefix=fresh_prefix(), access=EtcdAccess(tls))
    try:
        for _ in range(2):
            await store.lead()
        warned = [r for r in caplog.records if "production floor" in r.getMessage()]
        version = (await store.status()).endpoints[0].version
        assert len(warned) == len(version_warnings([EndpointStatus("a:1", reachable=True, version=version)]))
    finally:
        await store.close()

"""The clustered store: the ledger in etcd, fenced by a leader key.

The leader key hangs on an etcd lease; the fence E is its mod_revision. Owns these rules. Every transaction compares
`mod_revision(leader) = E` and the mod_revision of each key that it writes. Nothing but takeover and `refence` rewrites
the leader key, each in one transaction that compares what it saw. Decisions read inside fenced *write* transactions,
which go through Raft (a linearizable read can be stale: etcd #20418). The lease is renewed only behind a commit, so
that a coordinator whose loop hangs loses it. Never imports the core.

Keys: `<prefix>leader` (JSON, on the lease), `<prefix>tick`, `<prefix>ledger/<record key>`; behind those the journal,
where `etcd_journal` keeps commits that are not folded into their records yet. `sentinel` watches the records.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import socket
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from coordinator.store import etcd_txn
from coordinator.store.etcd_client import (
    DEADLINE_S,
    EndpointStatus,
    EtcdClient,
    Refused,
    fit_for_production,
    production_floor,
)
from coordinator.store.etcd_journal import ENTRY, Journal
from coordinator.store.etcd_login import EtcdAccess
from coordinator.store.etcdpb import kv_pb2, rpc_pb2
from coordinator.store.lookout import Lookout, Vacancy, leader_in, tick_value
from coordinator.store.lookout import now_ms as _now_ms
from coordinator.store.port import (
    CommitUncertain,
    Fenced,
    LeaderLine,
    LeaderSeen,
    Loaded,
    RecordConflict,
    StoreError,
    StoreUnavailable,
    check_size,
)
from coordinator.store.retry import Pause
from coordinator.store.sentinel import Sentinel
from coordinator.store.siblings import refuse_second_ledger

log = logging.getLogger(__name__)

LEASE_MS = 2_000
MIN_LEASE_MS = 500
MAX_LEASE_MS = 60_000
PAGE_KEYS = 2_000
LOAD_ATTEMPTS = 3
COMPACT_EVERY = 50_000
"""Records written between compactions: of one revision there may be a hundred. Idle ticks alone are 10 a second, and
history counts against etcd's quota."""
KEEP_REVISIONS = 1_000
TICK_AT_MOST_MS = 50
"""A busy leader's commits carry the tick this often; an idle one's empty commits are ticks by themselves."""
REFENCE_PAUSE_S = 0.2
"""Between attempts at most: standbys give a silent leader CONFIRM_MS after etcd answers again."""
SPARE_SHARE = 4
"""A lease that was granted ahead of a take-over is used while less than this part of it is gone: a quarter."""
CLOCK_MARGIN_PERMILLE = 10
"""How much faster than ours the clock of an etcd member may run."""
_PREFIX = re.compile(r"[A-Za-z0-9/_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class EtcdStatus:
    """What an operator wants to see first. `leader` is the leading coordinator's name, empty when nobody leads."""

    leader: str
    epoch: int
    endpoints: tuple[EndpointStatus, ...]


@dataclass(frozen=True, slots=True)
class _Lease:
    id: int
    ttl_ms: int
    asked_ms: int


class EtcdStore:
    """Implements `port.Store` over an etcd cluster. Several may share one prefix: one leads, the others stand by."""

    def __init__(
        self,
        endpoints: str | Sequence[str],
        *,
        prefix: str = "zonelock/",
        name: str = "",
        address: str = "",
        lease_ms: int = LEASE_MS,
        deadline_s: float = DEADLINE_S,
        compact_every: int = COMPACT_EVERY,
        access: EtcdAccess | None = None,
        alone: bool = False,
    ) -> None:
        """`name` is for people, `address` where agents reach this coordinator. `compact_every` counts records written;
        with 0 compaction is left to etcd. `access`: TLS and login. `alone`: no ledger is begun here beside one under
        another prefix.

        Raises EndpointError (a StoreUnavailable and ValueError), ValueError.
        """
        if not _PREFIX.fullmatch(prefix):
            raise ValueError(f"etcd prefix {prefix!r} must have 1 to 64 letters, digits, '/', '_', '.', '-'")
        if not MIN_LEASE_MS <= lease_ms <= MAX_LEASE_MS:
            raise ValueError(f"lease_ms is {lease_ms}, and must be {MIN_LEASE_MS} to {MAX_LEASE_MS}")
        self._client = EtcdClient(endpoints, deadline_s=deadline_s, access=access)
        prefix = prefix if prefix.endswith("/") else prefix + "/"
        self._prefix, self._look_around = prefix, alone
        self._leader_key = f"{prefix}leader".encode()
        self._tick_key = f"{prefix}tick".encode()
        self._ledger = f"{prefix}ledger/".encode()
        self.identity = uuid.uuid4().hex
        """Of this process's lead, for ever: what its leader key says."""
        self._about: dict[str, object] = {}
        self._leader_value = b""
        self.introduce(name, address)
        self._lookout = Lookout(self._client, self._leader_key, self._tick_key, self.identity)
        self._lookout.on_doubt = self._prepare
        self._asked_ms = lease_ms
        self._compact_every = compact_every

        self._epoch = 0
        self._sentinel: Sentinel | None = None
        self._journal: Journal | None = None
        """As loaded and as committed since; None until `load`."""
        self._folding: asyncio.Task[None] | None = None
        self._uncertain = False
        self.trouble = ""
        self._closed = False
        self._warned: set[str] = set()
        self._ticks = 0
        self.newest_token = 0
        self._ticked_ms = 0
        self._compacted = 0
        self._written = 0
        self._lease = 0
        self._granted_ms = lease_ms
        self._renewed_ms = 0
        self._committed_ms = 0
        self._first_page: rpc_pb2.TxnResponse | None = None
        """Of the ledger, as the take-over found it; until it is loaded."""
        self._spare: asyncio.Task[_Lease] | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._compaction: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return f"etcd:{','.join(self._client.endpoints)}"

    @property
    def lease_ms(self) -> int:
        """For how long after the beginning of the last commit nobody else can lead by the lease's expiry.

        Measured, not configured: what was left of the lease when that commit was sent, less the clock margin.
        """
        left = self._granted_ms * (1000 - CLOCK_MARGIN_PERMILLE) // 1000
        return max(1, left - max(0, self._committed_ms - self._renewed_ms))

    @property
    def leader(self) -> LeaderSeen | None:
        return self._lookout.leader

    @property
    def tick_age_ms(self) -> int:
        """Since the leader's tick was seen to move: our own last commit, or what the watch told; -1 if never."""
        return _now_ms() - self._committed_ms if self._epoch else self._lookout.tick_age_ms

    @property
    def heir(self) -> bool:
        return self._lookout.heir

    @property
    def on_standing(self) -> list[Callable[[], None]]:
        return self._lookout.on_standing

    @property
    def on_progress(self) -> list[Callable[[int, int, int], None]]:
        return self._lookout.on_progress

    def introduce(self, name: str, address: str) -> None:
        """What the leader key will say of this process; before `lead`."""
        host, pid = socket.gethostname(), os.getpid()
        name = name or f"{host}:{pid}"
        self._about = {"name": name, "address": address, "host": host, "pid": pid, "id": self.identity}

    def follow_by(self, line: LeaderLine) -> Callable[[], None]:
        """Gives a standby its own stream to the leader; call what is returned when the stream opens or closes."""
        self._lookout.use(line)
        return self._lookout.look

    async def lead(self) -> int:
        self._require_open()
        self._epoch = self.newest_token = 0
        pause = Pause()
        await self._greet()
        while True:
            try:
                if self._look_around:
                    await refuse_second_ledger(self._client, self._prefix)
                    self._look_around = False
                vacancy = await self._lookout.vacancy()
                epoch = await (self._resume(vacancy.leader) if vacancy.ours else self._take_over(vacancy))
                self.trouble = ""
                if epoch:
                    self._lookout.lead_taken(leader_in(self._leader_kv(epoch)))
                    return epoch
                pause = Pause()
            except (StoreUnavailable, CommitUncertain, Fenced) as error:
                self._require_open()
                self.trouble = str(error)
                if pause.remind():
                    log.warning("cannot lead yet, trying on: %s. Start etcd, or correct the endpoints.", error)
                await pause.wait()

    async def load(self) -> Loaded:
        self._require_lead()
        if self._uncertain:
            raise CommitUncertain("an earlier commit's outcome is not known: refence first")
        for _ in range(LOAD_ATTEMPTS):
            try:
                kvs, revision = await self._read_ledger()
                break
            except Refused as error:
                if "compacted" not in str(error):
                    raise
                log.info("reading the ledger again from its start: %s", error)
        else:
            raise StoreUnavailable(f"{self.name}: the ledger's history is compacted away faster than it can be read")
        journal = Journal(self._ledger)
        records = journal.read(kvs, _now_ms())
        self._forget_ledger()
        records_end = self._ledger + ENTRY.encode()
        self._journal, self._sentinel = journal, Sentinel(self._client, self._ledger, records_end, revision)
        self._compacted = self._compacted or revision
        return Loaded(records=records, revision=revision, epoch=self._epoch)

    async def commit(self, writes: Mapping[str, bytes | None]) -> int:
        check_size(writes)
        self._require_lead()
        if self._uncertain:
            raise CommitUncertain("an earlier commit's outcome is not known: refence and load first")
        journal = self._journal
        if journal is None and writes:
            raise StoreError("commit before load: a leader reads the ledger before it writes")
        await self._fold_done()
        if self._sentinel is not None and (foreign := self._sentinel.foreign()):
            await self._accuse(foreign)
        sent_ms = _now_ms()
        request = self._transaction(writes)
        try:
            # A tick does no harm late or twice; anything else is sent once.
            reply = await self._client.txn(request, repeatable=not writes)
        except (CommitUncertain, asyncio.CancelledError):
            self._uncertain = bool(writes)
            raise
        except StoreUnavailable:
            if self._sentinel is not None:
                self._sentinel.look_again()
            raise
        if not reply.succeeded:
            raise await self._why_not(reply, [journal.next_key] if journal is not None and writes else [])
        revision = reply.header.revision
        self._committed_ms = sent_ms
        self._renew_behind(sent_ms)
        self._written += max(1, len(writes))
        if journal is not None:
            if writes:
                journal.committed(request, writes, sent_ms, revision)
            if self._sentinel is not None:
                self._sentinel.revision = revision
            self._fold_behind(journal)
        self._compact_behind(revision)
        return revision

    async def _accuse(self, foreign: Sequence[str]) -> NoReturn:
        """Records were written, and not by us: by the next leader, unless we still lead."""
        reply = await self._client.txn(self._fenced_txn(), repeatable=True)
        raise self._conflict(", ".join(foreign)) if reply.succeeded else self._lost_to(etcd_txn.first_kv(reply))

    def _forget_ledger(self) -> None:
        """What was loaded; a slice that is on its way yet comes to nothing."""
        if self._sentinel is not None:
            self._sentinel.stop()
        self._sentinel = self._journal = self._folding = None

    def _fold_behind(self, journal: Journal) -> None:
        """A slice is folded while the answers to the commit leave; the next commit waits for it."""
        if journal.due(_now_ms()):
            self._folding = asyncio.create_task(self._fold(journal), name="fold")
            self._folding.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _fold_done(self) -> None:
        """Raises what a commit raises. The slice is not cancelled with the commit that waits for it."""
        folding = self._folding
        if folding is not None:
            await asyncio.wait({folding})
            self._folding = None
            if folding.cancelled():
                raise CommitUncertain("folding the journal was broken off")
            folding.result()

    async def _fold(self, journal: Journal) -> None:
        if self._journal is not journal or not self._epoch:
            return
        step = journal.next_slice()
        try:
            request = self._under_fence()
            journal.add_slice(request, step)
            reply = await self._client.txn(request, repeatable=False)
        except StoreUnavailable as error:  # not applied; what is to be said of the store, the next commit says
            journal.gave_up()
            log.info("the journal waits to be folded: %s", error)
            return
        except BaseException:
            journal.gave_up()
            self._uncertain = self._uncertain or self._journal is journal
            raise
        if self._journal is not journal or self._uncertain:
            return  # the fence was rewritten meanwhile, or is about to be: the ledger is read anew in any case
        if not reply.succeeded:
            raise await self._why_not(reply, step.keys)
        journal.folded(step, reply.header.revision)
        if self._sentinel is not None and step.writes:
            self._sentinel.own(reply.header.revision)
        self._written += max(1, len(step.writes))

    async def refence(self) -> int:
        self._require_lead()
        self._uncertain = True
        request = rpc_pb2.TxnRequest(
            compare=[etcd_txn.unchanged(self._leader_key, self._epoch)],
            success=[etcd_txn.put(self._leader_key, self._leader_value, self._lease)],
            failure=[etcd_txn.get(self._leader_key)],
        )
        pause = Pause(REFENCE_PAUSE_S)
        reply = None
        while reply is None:
            try:
                # Whichever attempt applies, every other one then compares a revision that is gone for ever.
                reply = await self._client.txn(request, repeatable=True)
            except StoreUnavailable as error:
                self._require_open()
                self.trouble = str(error)
                if pause.remind():
                    log.warning("cannot rewrite the fence, trying on; nothing is granted meanwhile: %s", error)
                await pause.wait()
        if reply.succeeded:
            self._epoch = reply.header.revision
        else:
            leader = etcd_txn.first_kv(reply)
            if leader is None or leader.value != self._leader_value:
                raise self._lost_to(leader)
            self._epoch = leader.mod_revision
        self.trouble = ""
        self._uncertain = False
        self._forget_ledger()
        self._first_page = None
        return self._epoch

    async def resign(self) -> None:
        if not self._epoch:
            return
        self._epoch = 0
        self._forget_ledger()
        try:
            # Deletes the leader key if, and only if, it still hangs on this lease.
            await self._client.revoke_lease(self._lease)
        except StoreUnavailable as error:
            log.info("could not resign, the lease will expire by itself: %s", error)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        behind = [t for t in (self._renewal, self._compaction, self._spare, self._folding) if t is not None]
        for task in behind:
            task.cancel()
        await asyncio.gather(*behind, return_exceptions=True)
        await self.resign()
        await self._client.close()

    async def status(self) -> EtcdStatus:
        """Who leads, and which members answer. Members that are down are part of the answer."""
        endpoints = tuple(await self._client.statuses())
        try:
            leader, _ = await self._client.read_key(self._leader_key)
        except StoreUnavailable:
            leader = None
        if leader is None:
            return EtcdStatus("", 0, endpoints)
        return EtcdStatus(leader_in(leader).name, leader.mod_revision, endpoints)

    async def _take_over(self, vacancy: Vacancy) -> int:
        """Puts the leader key where nothing has changed since the vacancy was seen: the new fence, or 0."""
        lease = await self._fresh_lease()
        compare = [etcd_txn.unchanged(self._leader_key, 0)]
        if vacancy.leader is not None:
            # A leader whose tick moved since is alive, whatever its streams look like.
            compare = [etcd_txn.unchanged(self._leader_key, vacancy.leader.mod_revision)]
            if not vacancy.handed_over:
                compare.append(etcd_txn.unchanged(self._tick_key, vacancy.tick_revision))
        self._leader_value = json.dumps({**self._about, "lease_ms": lease.ttl_ms}).encode()
        put = etcd_txn.put(self._leader_key, self._leader_value, lease.id)
        # The ledger comes with the fence that proves it: nobody else can write it from this revision on.
        page = etcd_txn.get_page(self._ledger, etcd_txn.end_of(self._ledger), limit=PAGE_KEYS, revision=0)
        request = rpc_pb2.TxnRequest(compare=compare, success=[put, page])
        reply = await self._client.txn(request, repeatable=False)
        if not reply.succeeded:
            return 0
        self._granted_ms = lease.ttl_ms
        if self._granted_ms > self._asked_ms:
            log.info("etcd gave a lease of %d ms; %d were asked for", self._granted_ms, self._asked_ms)
        self._renewed_ms = self._committed_ms = lease.asked_ms
        self._lease = lease.id
        self._epoch = reply.header.revision
        self._uncertain = False
        self._forget_ledger()
        self._first_page = reply
        return self._epoch

    def _prepare(self) -> None:
        """A take-over may be near: its lease can be had before it is due."""
        if self._spare is None:
            self._spare = asyncio.create_task(self._grant_lease(), name="spare-lease")

    async def _fresh_lease(self) -> _Lease:
        spare, self._spare = self._spare, None
        if spare is not None:
            with suppress(StoreUnavailable):
                lease = await spare
                if _now_ms() - lease.asked_ms < lease.ttl_ms // SPARE_SHARE:
                    return lease
        return await self._grant_lease()

    async def _grant_lease(self) -> _Lease:
        asked_ms = _now_ms()
        lease, ttl_s = await self._client.grant_lease(-(-self._asked_ms // 1000))
        return _Lease(lease, ttl_s * 1000, asked_ms)

    def _leader_kv(self, epoch: int) -> kv_pb2.KeyValue:
        return kv_pb2.KeyValue(value=self._leader_value, mod_revision=epoch)

    async def _resume(self, leader: kv_pb2.KeyValue | None) -> int:
        """Leads by a key that an earlier attempt of ours left, under which delayed transactions may be on their way."""
        if leader is None:
            return 0
        self._epoch, self._lease, self._leader_value = leader.mod_revision, leader.lease, leader.value
        self._granted_ms, self._renewed_ms = leader_in(leader).lease_ms or self._granted_ms, 0
        return await self.refence()

    async def _greet(self) -> None:
        """Says who does not answer and whose version is below the production floor; turns to the leading member."""
        await self._client.check_login()
        members = await self._client.statuses()
        for member in members:
            if not member.reachable:
                log.warning("etcd at %s does not answer: %s", member.endpoint, member.problem)
                continue
            if member.leads:
                self._client.prefer(member.endpoint)
        for sentence in version_warnings(members):
            if sentence not in self._warned:
                self._warned.add(sentence)
                log.warning("%s", sentence)

    async def _read_ledger(self) -> tuple[list[kv_pb2.KeyValue], int]:
        """All pages as of the first one's revision, each inside the fence."""
        kvs: list[kv_pb2.KeyValue] = []
        first, end, revision = self._ledger, etcd_txn.end_of(self._ledger), 0
        reply, self._first_page = self._first_page, None
        while True:
            if reply is None:
                page = etcd_txn.get_page(first, end, limit=PAGE_KEYS, revision=revision)
                reply = await self._client.txn(self._fenced_txn(page), repeatable=True)
                if not reply.succeeded:
                    raise self._lost_to(etcd_txn.first_kv(reply))
            revision = revision or reply.header.revision
            kvs.extend(etcd_txn.all_kvs(reply))
            if not etcd_txn.more_pages(reply):
                return kvs, revision
            first, reply = kvs[-1].key + b"\0", None

    def _fenced_txn(self, *operations: rpc_pb2.RequestOp) -> rpc_pb2.TxnRequest:
        """A tick with something behind it. The tick makes a read go through Raft."""
        return self._under_fence(self._tick(), *operations)

    def _under_fence(self, *operations: rpc_pb2.RequestOp) -> rpc_pb2.TxnRequest:
        return rpc_pb2.TxnRequest(
            compare=[etcd_txn.unchanged(self._leader_key, self._epoch)],
            success=operations,
            failure=[etcd_txn.get(self._leader_key)],
        )

    def _tick(self) -> rpc_pb2.RequestOp:
        self._ticks += 1
        self._ticked_ms = _now_ms()
        return etcd_txn.put(self._tick_key, tick_value(self._epoch, self._ticks, self.newest_token))

    def _transaction(self, writes: Mapping[str, bytes | None]) -> rpc_pb2.TxnRequest:
        if not writes or self._journal is None:
            return self._fenced_txn()
        due = _now_ms() - self._ticked_ms >= TICK_AT_MOST_MS
        request = self._fenced_txn() if due else self._under_fence()
        self._journal.add_commit(request, writes)
        return request

    async def _why_not(self, reply: rpc_pb2.TxnResponse, keys: Collection[str]) -> StoreError:
        """A compare failed: the fence's, or a record's."""
        leader = etcd_txn.first_kv(reply)
        if leader is None or leader.mod_revision != self._epoch:
            return self._lost_to(leader)
        changed = "one of " + ", ".join(sorted(keys))
        due = {key: self._journal.revision_of(key) for key in keys} if self._journal is not None else {}
        try:
            found = await self._client.txn(
                self._fenced_txn(*(etcd_txn.get(self._ledger + key.encode()) for key in keys)), repeatable=True
            )
            now = {kv.key[len(self._ledger) :].decode(): kv.mod_revision for kv in etcd_txn.all_kvs(found)}
            changed = ", ".join(key for key in sorted(keys) if now.get(key, 0) != due.get(key, 0)) or changed
        except StoreUnavailable as error:
            log.info("could not see which record changed: %s", error)
        return self._conflict(changed)

    def _conflict(self, changed: str) -> RecordConflict:
        return RecordConflict(
            f"another program wrote {changed} under {self._ledger.decode()} in {self.name}: find out which and what it"
            " changed, then start again"
        )

    def _lost_to(self, leader: kv_pb2.KeyValue | None) -> Fenced:
        lost, self._epoch = self._epoch, 0
        self._forget_ledger()
        if leader is None:
            return Fenced(f"this coordinator's lease expired (its fence was {lost}); nobody leads")
        return Fenced(f"{leader_in(leader).name} leads now (fence {leader.mod_revision}, ours was {lost})")

    def _renew_behind(self, committed_ms: int) -> None:
        """At most every quarter of the lease, in the background, and only after a commit (no zombie leader)."""
        due = committed_ms - self._renewed_ms >= self._granted_ms // 4
        if due and (self._renewal is None or self._renewal.done()):
            self._renewal = asyncio.create_task(_quietly("renew the lease", partial(self._renew, self._lease)))

    async def _renew(self, lease: int) -> None:
        sent_ms = _now_ms()
        ttl_s = await self._client.keep_alive(lease)
        if ttl_s > 0 and lease == self._lease:
            self._granted_ms, self._renewed_ms = ttl_s * 1000, sent_ms

    def _compact_behind(self, revision: int) -> None:
        self._compacted = self._compacted or revision
        due = self._compact_every and self._written >= self._compact_every
        if due and revision > self._compacted and (self._compaction is None or self._compaction.done()):
            self._compacted, self._written = revision, 0
            compaction = partial(self._client.compact, max(1, revision - KEEP_REVISIONS))
            self._compaction = asyncio.create_task(_quietly("compact etcd", compaction))

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self.name} is closed")

    def _require_lead(self) -> None:
        self._require_open()
        if not self._epoch:
            raise Fenced(f"this process does not lead {self.name}: call lead first")


def version_warnings(members: Sequence[EndpointStatus]) -> list[str]:
    """A sentence per release below the production floor: such a cluster works, but has known bugs that concern us."""
    old: dict[str, list[str]] = {}
    for member in members:
        if member.reachable and not fit_for_production(member.version):
            old.setdefault(member.version or "of unknown version", []).append(member.endpoint)
    return [
        f"etcd {version} at {', '.join(endpoints)} works, but the production floor is {production_floor()}: upgrade it"
        for version, endpoints in sorted(old.items())
    ]


async def _quietly(what: str, work: Callable[[], Awaitable[None]]) -> None:
    """`work` begins inside, so that a task which is cancelled before its first step leaves no coroutine behind."""
    try:
        await work()
    except StoreUnavailable as error:
        log.info("could not %s: %s", what, error)

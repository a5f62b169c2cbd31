"""A standby's view of the leader key and the tick in etcd, and the moment at which there is something to take.

Reads and watches only; what it sees are hints until the take-over's transaction compares them. The rule of when to take
over early is `succession`'s. Never imports the core.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto

from coordinator.store import etcd_txn
from coordinator.store.etcd_client import EtcdClient
from coordinator.store.etcdpb import kv_pb2, rpc_pb2
from coordinator.store.port import LeaderLine, LeaderSeen, StoreUnavailable
from coordinator.store.succession import Succession

log = logging.getLogger(__name__)

STANDBY_POLL_S = 3.0
"""How often the key is read though the watch says nothing, which is only a hint. A fresh watch lags by up to 100 ms."""


@dataclass(frozen=True, slots=True)
class Vacancy:
    """What a take-over compares: the leader key's mod_revision (0: absent), and the tick's where a leader is replaced.

    `ours`: the key was left there by an earlier attempt of this very process. `handed_over`: the leader gave it to this
    process, so its tick may have moved since it was last seen.
    """

    leader: kv_pb2.KeyValue | None = None
    tick_revision: int = 0
    ours: bool = False
    handed_over: bool = False


class Seen(Enum):
    """What ended a watch of the leader."""

    NOTHING = auto()
    CHANGED = auto()
    GONE = auto()
    """The key was deleted: its leader resigned, or its lease ran out."""
    FALLEN = auto()
    """The leader may be replaced though its key is there."""
    SILENT = auto()
    """The tick has stood still for a lease: has the leader fallen silent, or etcd?"""


class Lookout:
    """Of one store. `line` is the standby's own stream to the leader, if it has one."""

    def __init__(self, client: EtcdClient, leader_key: bytes, tick_key: bytes, identity: str) -> None:
        """`identity` is what this process's own leader key says."""
        self._client, self._leader_key, self._tick_key, self._identity = client, leader_key, tick_key, identity
        self.succession = Succession()
        self.on_standing: list[Callable[[], None]] = []
        self.on_progress: list[Callable[[int, int, int], None]] = []
        """Fence, revision and newest token, as the leader's ticks tell them."""
        self.standing = False
        self.on_doubt: Callable[[], None] = lambda: None
        """The stream to the leader has closed: a take-over may be near."""
        self._line: LeaderLine | None = None
        self._look = asyncio.Event()
        self._revision = 0

    def use(self, line: LeaderLine) -> None:
        self._line = line

    @property
    def leader(self) -> LeaderSeen | None:
        return self.succession.leader if self.standing else None

    @property
    def heir(self) -> bool:
        known = self.standing and self._revision > 0
        return known and self.succession.is_heir(now_ms(), closed=self._closed, yields_until_ms=self._yields_until_ms)

    @property
    def tick_age_ms(self) -> int:
        seen_ms = self.succession.tick_seen_ms
        return now_ms() - seen_ms if seen_ms else -1

    def look(self) -> None:
        """The line to the leader has changed."""
        self._look.set()
        if self.standing and self._closed and not self._yields_until_ms:
            self.on_doubt()
        self._tell()

    async def vacancy(self) -> Vacancy:
        """Waits until the lead can be tried for. Raises StoreUnavailable."""
        self.standing = True
        try:
            return await self._vacancy()
        except StoreUnavailable:
            self.succession.saw_answer(now_ms(), answered=False)
            raise

    async def _vacancy(self) -> Vacancy:
        while True:
            leader, revision = await self._read()
            if leader is None and now_ms() >= self._yields_until_ms:
                return Vacancy()
            if leader is not None and leader_in(leader).identity == self._identity:
                return Vacancy(leader, ours=True)
            match await self._watch(revision):
                case Seen.FALLEN:
                    if leader is None:
                        return Vacancy()
                    return Vacancy(leader, self.succession.tick_revision, handed_over=self._handed_over)
                case Seen.GONE if now_ms() >= self._yields_until_ms:
                    return Vacancy()

    def lead_taken(self, leader: LeaderSeen) -> None:
        """This process leads: nobody is followed."""
        self.standing = False
        self._follow(leader, to=None)

    # -- inside --------------------------------------------------------------------------------------------------

    @property
    def _closed(self) -> bool:
        return self._line is not None and self._line.closed

    @property
    def _handed_over(self) -> bool:
        return self._line is not None and self._line.handed_over

    @property
    def _yields_until_ms(self) -> int:
        return self._line.yields_until_ms if self._line is not None else 0

    async def _read(self) -> tuple[kv_pb2.KeyValue | None, int]:
        request = rpc_pb2.TxnRequest(success=[etcd_txn.get(self._leader_key), etcd_txn.get(self._tick_key)])
        reply = await self._client.txn(request, repeatable=True)
        found = {kv.key: kv for kv in etcd_txn.all_kvs(reply)}
        leader, tick = found.get(self._leader_key), found.get(self._tick_key)
        seen = None if leader is None else leader_in(leader)
        self._follow(seen, to=None if seen is None or seen.identity == self._identity else seen)
        if tick is not None:
            self._saw_tick(tick.value, tick.mod_revision)
        self.succession.saw_answer(now_ms())
        self._revision = reply.header.revision
        return leader, reply.header.revision

    def _follow(self, seen: LeaderSeen | None, *, to: LeaderSeen | None) -> None:
        if self.succession.saw_leader(seen, now_ms()) and seen is not None and to is not None:
            log.info("standing by: %s leads", seen.name)
        if self._line is not None:
            self._line.follow(to)
        self._tell()

    async def _watch(self, revision: int) -> Seen:
        """Until the leader may be replaced, or the key is gone, or it is time to read again."""
        self._look.clear()
        epoch = self.succession.leader.epoch if self.succession.leader is not None else 0
        seen = Seen.NOTHING

        def notice(key: bytes, value: bytes | None, mod_revision: int) -> None:
            nonlocal seen
            if key == self._tick_key and value is not None:
                self._saw_tick(value, mod_revision)
            elif key == self._leader_key and mod_revision > epoch:
                seen = Seen.GONE if value is None else Seen.CHANGED
                self._look.set()

        keys = (self._leader_key, self._tick_key)
        watch = asyncio.create_task(self._client.watch(keys, revision + 1, STANDBY_POLL_S, notice))
        watch.add_done_callback(lambda _: self._look.set())
        try:
            while seen is Seen.NOTHING and not watch.done():
                due_ms = self.succession.due_ms(
                    closed=self._closed, handed_over=self._handed_over, yields_until_ms=self._yields_until_ms
                )
                ask_ms, at_ms = self.succession.ask_ms, now_ms()
                if due_ms is not None and due_ms <= at_ms:
                    return Seen.FALLEN
                if ask_ms is not None and ask_ms <= at_ms:
                    return Seen.SILENT
                next_ms = min((ms for ms in (due_ms, ask_ms) if ms is not None), default=None)
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if next_ms is None else (next_ms - at_ms) / 1000):
                        await self._look.wait()
                self._look.clear()
        finally:
            watch.cancel()
            outcome = (await asyncio.gather(watch, return_exceptions=True))[0]
        if isinstance(outcome, Exception):
            raise outcome
        return seen

    def _saw_tick(self, value: bytes, mod_revision: int) -> None:
        self.succession.saw_tick(mod_revision, now_ms())
        fence, token = tick_in(value)
        if fence:
            for notice in list(self.on_progress):
                notice(fence, mod_revision, token)

    def _tell(self) -> None:
        for notice in list(self.on_standing):
            notice()


def tick_value(fence: int, number: int, token: int) -> bytes:
    """What a tick says: under which fence, how many there were, and the newest token committed."""
    return f"{fence} {number} {token}".encode()


def tick_in(value: bytes) -> tuple[int, int]:
    """The fence and the newest token that a tick says; zeros where an older version wrote it, or nobody we know."""
    try:
        fence, _, token = (int(part) for part in value.split())
    except ValueError:
        return 0, 0
    return fence, token


def leader_in(leader: kv_pb2.KeyValue) -> LeaderSeen:
    """What the leader key says; a key that cannot be read leads all the same."""
    try:
        told = json.loads(leader.value)
        name, address, identity = (str(told.get(field, "")) for field in ("name", "address", "id"))
        lease_ms = int(told.get("lease_ms", 0))
    except (ValueError, TypeError, AttributeError, OverflowError):
        name, address, identity = f"an unknown leader ({leader.value[:64]!r})", "", leader.value.hex()[:64]
        lease_ms = 0
    return LeaderSeen(name, address, identity, leader.mod_revision, lease_ms)


def now_ms() -> int:
    """Runs through suspend: a lease expires while we sleep."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

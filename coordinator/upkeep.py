"""What somebody has to look after in etcd while the leader works: how full it is, and what its members complain of.

The rule owned here: whoever is on call hears of a store that fills up before it is full, once each time, with what to
do. (The leader compacts the history that it makes by itself, see `store.etcd`; giving the space back to the disk stops
a member for a moment, so that is left to people.) Never imports the runtime.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from coordinator.store.etcd import EtcdStore
from coordinator.store.etcd_client import EndpointStatus

LOOK_S = 10.0
ALARM_PERCENT = 80
CALM_PERCENT = 70
"""Below this the next rise is told again."""
REMEDY = "run `etcdctl defrag` on one member after the other, or raise --quota-backend-bytes there"


class Upkeep:
    """One coordinator's; looks on while `leads` says so, or while nobody can lead."""

    def __init__(
        self, store: EtcdStore, quota_bytes: int, *, leads: Callable[[], bool], alarm: Callable[[str], None]
    ) -> None:
        self._store, self._quota_bytes, self._leads, self._alarm = store, quota_bytes, leads, alarm
        self._told: set[tuple[str, str]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="etcd-upkeep")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if self._leads() or self._store.trouble:
                self.judge((await self._store.status()).endpoints)

    def judge(self, members: Iterable[EndpointStatus]) -> None:
        """Tells what is new about these members."""
        for member in members:
            if not member.reachable:
                continue
            percent = 100 * member.db_bytes // self._quota_bytes
            if percent >= ALARM_PERCENT:
                self._tell(member, "size", f"has used {percent} % of its {self._quota_bytes:,} bytes; {REMEDY}")
            elif percent < CALM_PERCENT:
                self._told.discard((member.endpoint, "size"))
            for complaint in member.alarms:
                self._tell(member, complaint, f"raises {complaint}; {_REMEDIES.get(complaint, _LOOK)}")
            self._told -= {
                (endpoint, about)
                for endpoint, about in self._told
                if endpoint == member.endpoint and about != "size" and about not in member.alarms
            }

    def _tell(self, member: EndpointStatus, about: str, sentence: str) -> None:
        if (member.endpoint, about) not in self._told:
            self._told.add((member.endpoint, about))
            self._alarm(f"etcd {member.endpoint} {sentence}")


_LOOK = "look at its log"
_REMEDIES = {
    "NOSPACE": "nothing is granted until there is space: `etcdctl compact REVISION`, `defrag`, then `alarm disarm`",
    "CORRUPT": "its data differs from the others': take it out and let it join anew",
}

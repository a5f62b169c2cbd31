"""Opens stores of one kind on one ledger, as often as a test likes."""

from __future__ import annotations

from dataclasses import dataclass, field

from coordinator.store.etcd import EtcdStore
from coordinator.store.sqlite import SqliteStore


@dataclass
class Bench:
    """`place` is the SQLite path, or the prefix in etcd."""

    kind: str
    place: str
    endpoints: list[str] = field(default_factory=list)
    opened: list[SqliteStore | EtcdStore] = field(default_factory=list)

    def open(self, name: str = "one") -> SqliteStore | EtcdStore:
        if self.kind == "etcd":
            return self.open_etcd(name)
        store = SqliteStore(self.place)
        self.opened.append(store)
        return store

    def open_etcd(self, name: str = "one", *, compact_every: int = 0) -> EtcdStore:
        store = EtcdStore(self.endpoints, prefix=self.place, name=name, compact_every=compact_every)
        self.opened.append(store)
        return store

    async def close(self) -> None:
        for store in self.opened:
            await store.close()

"""A coordinator in the test's own process, for users of the SDK: real protocol, real grants, nothing kept.

    async with TestServer() as server:
        async with connect(server.target, agent_id="AGV_07") as agent: ...

Rule: nothing here is a fake; it is the coordinator itself on a free port with a store in memory. Imports the
coordinator lazily, so that the SDK can be installed and used without it.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from zonelock.v1 import floor_pb2

from zonelock_client.operators import Operator

if TYPE_CHECKING:
    from coordinator.app import Coordinator
    from coordinator.floor import Floor

FLOOR = """\
# A street of six cells and a crossing for two: enough to queue, to pass, and to stop one half without the other.
format: zonelock.floor/1
site: test
version: 1
cell_mm: 1000
grid: |
  ......
  ##..##
defaults: {capacity: 1, stop_group: west, hold_max_ms: 60000}
zones:
  Z_31: {cells: [[0, 0]]}
  Z_32: {cells: [[1, 0]]}
  X_01: {cells: [[2, 0, 2, 2]], capacity: 2, stop_group: crossing}
  Z_41: {cells: [[4, 0]], stop_group: east}
  Z_42: {cells: [[5, 0]], stop_group: east}
areas:
  west: [Z_31, Z_32]
  east: [Z_41, Z_42]
agent_kinds:
  agv: {speed_mm_s: 1500, braking_mm_s2: 1500, length_mm: 800, width_mm: 600}
  arm: {speed_mm_s: 1000, braking_mm_s2: 4000, length_mm: 400, width_mm: 400}
"""
"""Zones Z_31, Z_32 (stop group west), X_01 (capacity 2, crossing), Z_41, Z_42 (east); kinds agv and arm."""

OPERATOR = "test"


class TestServer:
    """An in-process coordinator as an async context manager.

    `floor`: a floor file, or None for `FLOOR`. `assume_empty`: False to begin as a real site does, with every zone
    UNKNOWN until `operator_clear_all`. `port`: 0 picks a free one. Other keywords are the coordinator's
    configuration (heartbeat_ms, suspend_ms, lost_ms, rho_ppm, store, ...). Raises what the coordinator raises:
    FloorError, ConfigError.
    """

    __test__ = False  # not a test case, whatever its name says to pytest

    def __init__(
        self, floor: str | Path | None = None, *, assume_empty: bool = True, port: int = 0, **settings: Any
    ) -> None:
        self._floor_path = floor
        self._settings: dict[str, Any] = {
            "store": "memory",
            "web": "",
            "listen": f"127.0.0.1:{port}",
            "assume_empty": assume_empty,
            **settings,
        }
        self._coordinator: Coordinator | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Returns when the coordinator grants."""
        from coordinator import config
        from coordinator.app import Coordinator
        from coordinator.floor import Floor

        path = Path(self._floor_path) if self._floor_path is not None else Path("zonelock_client.testing.FLOOR")
        floor = Floor.load(path) if self._floor_path is not None else Floor.parse(FLOOR, str(path))
        self._coordinator = Coordinator(config.make({"floor": path, **self._settings}), floor)
        await self._coordinator.start()
        await self._coordinator.leading()

    async def stop(self) -> None:
        """Ends every stream; what was granted is forgotten with the store, unless `store` says otherwise."""
        coordinator, self._coordinator = self._coordinator, None
        if coordinator is not None:
            await coordinator.stop()

    @property
    def coordinator(self) -> Coordinator:
        """The coordinator itself, for tests that look inside. Raises RuntimeError before `start`."""
        if self._coordinator is None:
            raise RuntimeError("the test server is not running; use `async with TestServer() as server:`")
        return self._coordinator

    @property
    def target(self) -> str:
        """host:port for `connect`."""
        return self.coordinator.target

    @property
    def floor(self) -> Floor:
        """The floor it was started with (a `coordinator.floor.Floor`)."""
        return self.coordinator.floor

    def operator(self, name: str = OPERATOR) -> Operator:
        """An operator's client to it; close it, or use it as an async context manager."""
        return Operator(self.target, operator=name)

    async def operator_clear_all(self, reason: str = "walked and found empty") -> list[str]:
        """Confirms every UNKNOWN zone empty, as a person who walked the floor."""
        async with self.operator() as operator:
            return await operator.clear(reason=reason, all_unknown=True)

    async def clear(self, *zones: str, reason: str = "looked: nobody there") -> list[str]:
        """Clears what stands in the zones without a live grant."""
        async with self.operator() as operator:
            return await operator.clear(zones, reason)

    async def stop_floor(self, reason: str = "test") -> floor_pb2.Stop:
        """Trips a stop of the whole floor."""
        async with self.operator() as operator:
            return await operator.trip_stop(reason, floor=True)

    async def reset(self, *stop_ids: str, reason: str = "test: looked, all stand") -> list[floor_pb2.Stop]:
        """Resets the stops named, or every active one. Refused while an occupant in scope has not confirmed
        standing."""
        async with self.operator() as operator:
            ids = stop_ids or tuple(stop.stop_id for stop in await operator.stops())
            return await operator.reset(ids, reason) if ids else []

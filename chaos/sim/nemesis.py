"""Carries out a plan's faults, and heals all of them when the liveness phase begins.

Each kind is one function; each says in the history what it did. "leader" means whoever leads at that moment. A crash
comes after so many more task switches of its process, so that every await of the runtime is a place where it can die.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from chaos.sim.clones import Clone
from chaos.sim.coordinators import SimCoordinator
from chaos.sim.etcd import Stored
from chaos.sim.etcd_client import Anomaly
from chaos.sim.loop import NS_PER_MS
from chaos.sim.misuse import Mistake
from chaos.sim.network import Way
from chaos.sim.plan import CALM_DELAY_US, Fault, FaultKind
from chaos.sim.truth import LEDGER

if TYPE_CHECKING:
    from chaos.sim.world import World


class Nemesis:
    """What goes wrong, and its end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.healed = False
        self._undo: list[Callable[[], None]] = []
        self._clones: list[Clone] = []
        self._backups: list[tuple[int, dict[bytes, Stored]]] = []
        self._kinds: dict[FaultKind, Callable[[Fault], None]] = {
            FaultKind.CRASH: self._crash,
            FaultKind.POWER: self._crash,
            FaultKind.PAUSE: self._pause,
            FaultKind.COMMIT: self._commit,
            FaultKind.STOP_COMMIT: self._stop_commit,
            FaultKind.ETCD_CUT: self._etcd_cut,
            FaultKind.ETCD_SLOW: self._etcd_slow,
            FaultKind.CUT: self._cut,
            FaultKind.CUT_UP: self._cut,
            FaultKind.CUT_DOWN: self._cut,
            FaultKind.SLOW: self._slow,
            FaultKind.LOSSY: self._lossy,
            FaultKind.RADIO: self._radio,
            FaultKind.REBOOT: self._reboot,
            FaultKind.AGENT_PAUSE: self._agent_pause,
            FaultKind.STUCK: self._stuck,
            FaultKind.LATE_RELEASE: self._late_release,
            FaultKind.CLONE: self._clone,
            FaultKind.MISUSE: self._misuse,
            FaultKind.OPERATOR_STOP: self._operator_stop,
            FaultKind.AGENT_STOP: self._agent_stop,
            FaultKind.EARLY_RELEASE: self._early_release,
            FaultKind.FOREIGN_WRITE: self._foreign_write,
            FaultKind.RESTORE: self._restore,
        }

    def schedule(self) -> None:
        for fault in self.world.plan.faults:
            if fault.kind is FaultKind.RESTORE:
                self.world.loop.after_ms(max(1, fault.at_ms - fault.value), self._back_up)
            self.world.loop.after_ms(fault.at_ms, self._strike, fault)

    def heal(self) -> None:
        """Ends every fault that is still on, slow networks and reckless driving too. Nothing strikes afterwards."""
        self.healed = True
        for undo in self._undo:
            undo()
        self._undo.clear()
        self.world.network.quicken(CALM_DELAY_US)
        for robot in self.world.robots:
            robot.calm_down()

    def _strike(self, fault: Fault) -> None:
        if self.healed:
            return
        detail = {"lasts_ms": fault.lasts_ms, "value": fault.value, "how": fault.how}
        said = {k: v for k, v in detail.items() if v}
        if fault.kind is not FaultKind.FOREIGN_WRITE:
            self.world.note("fault", "nemesis", what=fault.kind.value, target=fault.target or None, detail=said or None)
        self.world.faults += 1
        self._kinds[fault.kind](fault)

    def _until(self, lasts_ms: int, undo: Callable[[], None]) -> None:
        """Undoes it after its time, or when all is healed, whichever comes first; once."""
        done = False

        def once() -> None:
            nonlocal done
            if not done:
                done = True
                undo()

        self._undo.append(once)
        self.world.loop.after_ms(lasts_ms, once)

    # -- coordinators and etcd -----------------------------------------------------------------------------------

    def _coordinator(self, name: str) -> SimCoordinator:
        return self.world.leader() if name == "leader" else self.world.coordinator(name)

    def _crash(self, fault: Fault) -> None:
        coordinator = self._coordinator(fault.target)
        process = coordinator.process
        if process is None or not process.alive:
            return
        if fault.kind is FaultKind.POWER:
            self.world.transport.silent_hosts.add(coordinator.name)
        process.fuse = fault.value

        def come_back() -> None:
            if process.alive:
                process.kill()
            if coordinator.process is process:
                coordinator.start()

        self._until(max(1, fault.lasts_ms), come_back)

    def _pause(self, fault: Fault) -> None:
        process = self._coordinator(fault.target).process
        if process is None or process.paused or not process.alive:
            return
        process.pause()
        self._until(fault.lasts_ms, process.resume)

    def _commit(self, fault: Fault) -> None:
        self.world.leader().path.anomalies.append((Anomaly(fault.how), fault.value))

    def _stop_commit(self, fault: Fault) -> None:
        self.world.leader().path.stop_anomalies.append((Anomaly(fault.how), fault.value))

    def _etcd_cut(self, fault: Fault) -> None:
        path = self._coordinator(fault.target).path
        if path.cut:
            return
        path.cut = True
        self._until(fault.lasts_ms, path.heal)

    def _etcd_slow(self, fault: Fault) -> None:
        path = self._coordinator(fault.target).path
        path.slow_ms += fault.value

        def quick() -> None:
            path.slow_ms -= fault.value

        self._until(fault.lasts_ms, quick)

    def _foreign_write(self, fault: Fault) -> None:
        key = f"unit/{fault.target}/0"
        if self.world.etcd.touch(LEDGER + key.encode()):
            self.world.truth.foreign.add(key)
            self.world.note("fault", "nemesis", what="foreign_write", target=fault.target, keys=[key])

    def _back_up(self) -> None:
        self._backups.append(self.world.etcd.copy())

    def _restore(self, fault: Fault) -> None:
        """As the manual has it: every coordinator down, the copy in place, coordinators up again."""
        world = self.world
        for coordinator in world.coordinators:
            coordinator.kill()
        world.etcd.restore(self._backups.pop(0))
        world.truth.restore(world.etcd.read_all())

        def start() -> None:
            for coordinator in world.coordinators:
                if not coordinator.running:
                    coordinator.start()

        self._until(fault.lasts_ms, start)

    # -- the network ---------------------------------------------------------------------------------------------

    def _cut(self, fault: Fault) -> None:
        network = self.world.network
        ways = []
        if fault.kind is not FaultKind.CUT_DOWN:
            ways.append(network.way(fault.target, fault.how))
        if fault.kind is not FaultKind.CUT_UP:
            ways.append(network.way(fault.how, fault.target))
        self._block(ways, fault.lasts_ms)

    def _radio(self, fault: Fault) -> None:
        """Nobody hears the agent and it hears nobody."""
        network = self.world.network
        hosts = [c.name for c in self.world.coordinators]
        pairs = [(fault.target, h) for h in hosts] + [(h, fault.target) for h in hosts]
        self._block([network.way(*pair) for pair in pairs], fault.lasts_ms)

    def _block(self, ways: list[Way], lasts_ms: int) -> None:
        for way in ways:
            way.block()
            self._until(lasts_ms, way.unblock)

    def _ways(self, fault: Fault) -> list[Way]:
        network = self.world.network
        return [network.way(fault.target, fault.how), network.way(fault.how, fault.target)]

    def _slow(self, fault: Fault) -> None:
        for way in self._ways(fault):
            before = way.delay_us
            way.delay_us = (fault.value * 500, fault.value * 1_500)

            def quick(way: Way = way, before: tuple[int, int] = before) -> None:
                way.delay_us = before

            self._until(fault.lasts_ms, quick)

    def _lossy(self, fault: Fault) -> None:
        for way in self._ways(fault):
            way.loss_permille = fault.value

            def dry(way: Way = way) -> None:
                way.loss_permille = 0

            self._until(fault.lasts_ms, dry)

    # -- agents --------------------------------------------------------------------------------------------------

    def _reboot(self, fault: Fault) -> None:
        robot = self.world.robot(fault.target)
        if not robot.running:
            return
        robot.kill(lose_secret=fault.how == "forgets")

        def boot() -> None:
            if fault.value:
                robot.lost_pose_until_ns = self.world.loop.true_ns + fault.value * NS_PER_MS
            self.world.restart_robot(robot)

        self._until(fault.lasts_ms, boot)

    def _agent_pause(self, fault: Fault) -> None:
        process = self.world.robot(fault.target).process
        if process is None or process.paused or not process.alive:
            return
        process.pause()
        self._until(fault.lasts_ms, process.resume)

    def _stuck(self, fault: Fault) -> None:
        body = self.world.robot(fault.target).body
        body.jam()

        def free() -> None:
            body.stuck = False

        self._until(fault.lasts_ms, free)

    def _late_release(self, fault: Fault) -> None:
        self.world.robot(fault.target).late_release_ms = fault.value

    def _early_release(self, fault: Fault) -> None:
        self.world.robot(fault.target).releases_early = True

    def _clone(self, fault: Fault) -> None:
        clone = Clone(self.world, fault.target, fault.how, len(self._clones))
        self._clones.append(clone)
        clone.start()
        self._until(fault.lasts_ms, clone.kill)

    def _misuse(self, fault: Fault) -> None:
        misuse, mistake = self.world.misuse, Mistake(fault.how)
        misuse.begin(fault.target, mistake)
        self._until(fault.lasts_ms, lambda: misuse.end(fault.target, mistake))

    # -- people --------------------------------------------------------------------------------------------------

    def _operator_stop(self, fault: Fault) -> None:
        if fault.target == "floor":
            self.world.operator.trip(floor=True)
        elif fault.target in ("west", "east"):
            self.world.operator.trip(stop_group=fault.target)
        else:
            self.world.operator.trip(zone=fault.target)

    def _agent_stop(self, fault: Fault) -> None:
        self.world.robot(fault.target).trip_stop(fault.how)

"""Agents' software with mistakes: it repeats operations, reuses ids, gives back what it has not, asks while stopped.

The mistakes are added to frames that the SDK has made, on their way out: the SDK itself would not make them. A
coordinator owes such an agent nothing, and everybody else all of its promises. The answers come back to the SDK, which
has to bear them.
"""

from __future__ import annotations

import random
from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from zonelock.v1 import zone_service_pb2 as pb

from chaos.sim.loop import NS_PER_MS, Process

if TYPE_CHECKING:
    from chaos.sim.world import World

REMEMBERED = 12
EXPECTED_MS = 5_000
PAUSE_MS = 300
"""Between two mistakes of one agent."""


class Mistake(StrEnum):
    REPEAT_ASK = "repeat_ask"
    """An ask that was answered already, once more."""
    CHANGE_ASK = "change_ask"
    """The id of an earlier ask, for another zone."""
    REPEAT_RELEASE = "repeat_release"
    """A release of a grant that is over, once more: somebody else may be there by now."""
    FOREIGN_RELEASE = "foreign_release"
    """A release under a token that was given to somebody."""
    ASK_ANYWAY = "ask_anyway"
    """An ask while a stop latches the agent."""


class Misuse:
    """What each process said lately, and the mistakes that it is making at present."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.made = 0
        self._mistakes: dict[str, dict[Mistake, int]] = {}
        """agent -> mistake -> how many faults ask for it now"""
        self._said: dict[str, tuple[Process, deque[pb.Operation]]] = {}
        self._next_ns: dict[str, int] = {}
        self._chance: dict[str, random.Random] = {}

    def begin(self, agent_id: str, mistake: Mistake) -> None:
        mine = self._mistakes.setdefault(agent_id, {})
        mine[mistake] = mine.get(mistake, 0) + 1

    def end(self, agent_id: str, mistake: Mistake) -> None:
        self._mistakes[agent_id][mistake] -= 1

    def on_write(self, process: Process, message: Any) -> None:
        """A frame is about to leave."""
        if not isinstance(message, pb.SessionRequest):
            return
        wanted = sorted(m for m, count in self._mistakes.get(process.name, {}).items() if count)
        now_ns = self.world.loop.true_ns
        if wanted and now_ns >= self._next_ns.get(process.name, 0):
            rng = self._chance.setdefault(process.name, self.world.chance(f"misuse {process.name}"))
            made = self._make(process, rng.choice(wanted), rng)
            if made is not None:
                self.made += 1
                message.operations.append(made)
                self._next_ns[process.name] = now_ns + PAUSE_MS * NS_PER_MS
                return
        self._remember(process, message)

    def _remember(self, process: Process, message: pb.SessionRequest) -> None:
        known = self._said.get(process.name)
        if known is None or known[0] is not process:
            known = self._said[process.name] = process, deque(maxlen=REMEMBERED)
        known[1].extend(o for o in message.operations if o.WhichOneof("kind") in ("ask", "release"))

    def _make(self, process: Process, mistake: Mistake, rng: random.Random) -> pb.Operation | None:
        agent = self.world.robot(process.name).agent
        known = self._said.get(process.name)
        said = list(known[1]) if known is not None and known[0] is process else []
        if agent is None or not agent.core.welcomed:
            return None
        asks = [o for o in said if o.WhichOneof("kind") == "ask"]
        zones = sorted(self.world.capacities)
        match mistake:
            case Mistake.REPEAT_ASK if asks:
                return _copy(rng.choice(asks))
            case Mistake.CHANGE_ASK if asks:
                changed = _copy(rng.choice(asks))
                changed.ask.zones[:] = [rng.choice(zones)]
                return changed
            case Mistake.REPEAT_RELEASE:
                over = [
                    o for o in said if o.WhichOneof("kind") == "release" and o.release.token not in agent.core.grants
                ]
                return _copy(rng.choice(over)) if over else None
            case Mistake.FOREIGN_RELEASE:
                tokens = sorted(self.world.truth.granted - agent.core.grants.keys())[-REMEMBERED:]
                tokens = [t for t in tokens if not self._may_be_own(process.name, t)]
                release = pb.Release(token=rng.choice(tokens)) if tokens else None
                return pb.Operation(agent_id=process.name, release=release) if release is not None else None
            case Mistake.ASK_ANYWAY if agent.core.latched:
                ask = pb.Ask(request_id=f"anyway-{self.made}", zones=[rng.choice(zones)], expected_ms=EXPECTED_MS)
                return pb.Operation(agent_id=process.name, ask=ask)
            case _:
                return None

    def _may_be_own(self, agent_id: str, token: int) -> bool:
        """To give back one's own grant by mistake, standing in it, is a lie: EARLY_RELEASE does that."""
        return any(u.token == token and u.agent_id == agent_id for u in self.world.truth.units.values())


def _copy(operation: pb.Operation) -> pb.Operation:
    return pb.Operation.FromString(operation.SerializeToString())

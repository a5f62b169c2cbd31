"""The simulator's ground truth, where no run of the simulator can show for certain that it is fair."""

from __future__ import annotations

from zonelock.v1 import zone_service_pb2 as pb

from chaos.sim.truth import LEDGER, Truth
from coordinator.core.model import UnitRecord, UnitState
from coordinator.store import codec


def held(token: int) -> tuple[bytes, bytes]:
    record = UnitRecord("Z_1", 0, UnitState.HELD, agent_id="A", token=token)
    return LEDGER + record.key.encode(), codec.encode(record)


def hears_of_its_release(truth: Truth, token: int) -> None:
    released = pb.Released(token=token, zones=["Z_1"])
    truth.on_answer("A", pb.SessionResponse(answers=[pb.Answer(agent_id="A", released=released)]))


def test_a_release_answered_before_an_old_copy_was_put_back_is_no_lie() -> None:
    broken: list[str] = []
    truth = Truth({"Z_1": 1}, broken.append)
    key, value = held(1)
    truth.on_change(key, value, 1)
    truth.restore({key: value})
    hears_of_its_release(truth, 1)
    assert broken == []
    truth.on_change(*held(2), 2)  # a coordinator has written it since: from now on the record is what it decided
    hears_of_its_release(truth, 2)
    assert broken == ["I4: A hears that Z_1 was released, but token 2 still holds it"]

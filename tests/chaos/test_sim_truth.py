"""The simulator's ground truth, where no run of the simulator can show for certain that it is fair."""

from __future__ import annotations

from zonelock.v1 import zone_service_pb2 as pb

from chaos.sim.truth import LEDGER, Truth
from coordinator.core.model import UnitRecord, UnitState
from coordinator.store import codec
from coordinator.store.etcd_journal import encoded, entry_key
from coordinator.store.etcdpb import kv_pb2


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
    truth.restore([kv_pb2.KeyValue(key=key, value=value, mod_revision=1)])
    hears_of_its_release(truth, 1)
    assert broken == []
    truth.on_change(*held(2), 2)  # a coordinator has written it since: from now on the record is what it decided
    hears_of_its_release(truth, 2)
    assert broken == ["I4: A hears that Z_1 was released, but token 2 still holds it"]


def journalled(number: int, token: int) -> tuple[bytes, bytes]:
    key, value = held(token)
    return LEDGER + entry_key(number).encode(), encoded({key.removeprefix(LEDGER).decode(): value})


def test_an_entry_of_the_journal_may_go_when_its_records_are_folded() -> None:
    broken: list[str] = []
    truth = Truth({"Z_1": 1}, broken.append)
    entry, value = journalled(1, 1)
    truth.on_change(entry, value, 1)
    assert truth.units["Z_1", 0].token == 1
    truth.on_change(*held(1), 2)
    truth.on_change(entry, None, 3)
    assert broken == []


def test_an_entry_of_the_journal_may_go_when_a_later_one_names_its_records() -> None:
    broken: list[str] = []
    truth = Truth({"Z_1": 1}, broken.append)
    truth.on_change(*journalled(1, 1), 1)
    truth.on_change(*journalled(2, 2), 2)
    truth.on_change(journalled(1, 1)[0], None, 3)
    assert broken == [] and truth.units["Z_1", 0].token == 2


def test_an_entry_of_the_journal_that_goes_unfolded_is_a_lost_commit() -> None:
    broken: list[str] = []
    truth = Truth({"Z_1": 1}, broken.append)
    entry, value = journalled(2, 2)
    truth.on_change(*held(1), 1)
    truth.on_change(entry, value, 2)
    truth.on_change(entry, None, 3)
    assert broken[0].startswith(f"I4: {entry_key(2)} was deleted, and the own key of unit/Z_1/0 does not say")


def test_a_copy_is_read_with_its_journal() -> None:
    broken: list[str] = []
    truth = Truth({"Z_1": 1}, broken.append)
    entries = [held(1), journalled(1, 2)]
    truth.restore([kv_pb2.KeyValue(key=k, value=v, mod_revision=n) for n, (k, v) in enumerate(entries, 1)])
    assert broken == [] and truth.units["Z_1", 0].token == 2

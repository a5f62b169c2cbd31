"""Mistakes around the core: in the order of effects, in the fence, in the SDK's reckoning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import zonelock_client.session_core.stream as session_stream
from zonelock.v1 import zone_service_pb2 as pb
from zonelock_client.session_core.agent import AgentCore
from zonelock_client.session_core.values import HeldGrant, holder_deadline_ns

from chaos.mutations.patching import Mutation, Patch, mutation
from coordinator.batches import Batch
from coordinator.core import effects as fx
from coordinator.outlets import Outlets
from coordinator.runtime import Runtime
from coordinator.store.etcd import EtcdStore
from coordinator.store.etcd_journal import Journal, Slice
from coordinator.store.etcdpb import rpc_pb2
from coordinator.store.sentinel import Sentinel

SHELL: list[Mutation] = []

# -- the runtime ---------------------------------------------------------------------------------------------------


@mutation(SHELL, "ack_before_commit", "answers leave when a batch is taken, not when it is durable", "I4")
def _ack_before_commit(patch: Patch) -> None:
    def make(original: Any) -> Any:
        def take_batch(self: Runtime) -> Batch:
            batch: Batch = original(self)
            self._release(replace(batch, heard={}))
            return replace(batch, steps=[])

        return take_batch

    patch.wrap(Runtime, "_take_batch", make)


@mutation(SHELL, "stop_after_commit", "a stop waits for its commit like everything else", "I4")
def _stop_after_commit(patch: Patch) -> None:
    waiting: dict[Outlets, list[Sequence[fx.Send]]] = {}

    def hold(original: Any) -> Any:
        def let_go(self: Outlets, stops: Sequence[fx.Send]) -> None:
            waiting.setdefault(self, []).append(stops)

        let_go.__wrapped__ = original  # type: ignore[attr-defined]
        return let_go

    def make(original: Any) -> Any:
        def release(self: Runtime, batch: Batch) -> None:
            held, made = waiting.get(self._outlets, []), {id(step.stops) for step in batch.steps}
            last = max((i for i, stops in enumerate(held) if id(stops) in made), default=-1)
            for stops in held[: last + 1]:  # those of this batch, and what was decided before it
                vars(Outlets)["let_go"].__wrapped__(self._outlets, stops)
            del held[: last + 1]
            original(self, batch)

        return release

    patch.wrap(Outlets, "let_go", hold)
    patch.wrap(Runtime, "_release", make)


@mutation(
    SHELL,
    "drop_stop_on_ambiguous_commit",
    "a stop that had left goes with the core when a commit is lost",
    "I5",
)
def _drop_stop_on_ambiguous_commit(patch: Patch) -> None:
    def make(original: Any) -> Any:
        async def load(self: Runtime) -> None:
            self.safeguards._stops.clear()
            await original(self)

        return load

    patch.wrap(Runtime, "_load", make)


# -- the store -----------------------------------------------------------------------------------------------------


def _without(request: rpc_pb2.TxnRequest, keep: Any) -> rpc_pb2.TxnRequest:
    """The transaction with only the compares that `keep` lets stand."""
    kept = [compare for compare in request.compare if keep(compare)]
    del request.compare[:]
    request.compare.extend(kept)
    return request


@mutation(SHELL, "no_leader_compare", "a transaction does not compare the leader's fence", "I1", "I3", "I4")
def _no_leader_compare(patch: Patch) -> None:
    def make(original: Any) -> Any:
        def build(self: EtcdStore, *arguments: Any) -> rpc_pb2.TxnRequest:
            return _without(original(self, *arguments), lambda compare: compare.key != self._leader_key)

        return build

    patch.wrap(EtcdStore, "_under_fence", make)


@mutation(SHELL, "no_record_compare", "records are folded whoever wrote them since, and nobody watches", "I4")
def _no_record_compare(patch: Patch) -> None:
    def make(original: Any) -> Any:
        def add_slice(self: Journal, request: rpc_pb2.TxnRequest, step: Slice) -> None:
            fence = list(request.compare)
            original(self, request, step)
            _without(request, lambda compare: compare in fence)

        return add_slice

    patch.wrap(Journal, "add_slice", make)
    patch.wrap(Sentinel, "foreign", lambda _: lambda self: [])


@mutation(
    SHELL,
    "delete_unfolded_entries",
    "entries of the journal are deleted before their records are folded",
    "I1",
    "I2",
    "I4",
)
def _delete_unfolded_entries(patch: Patch) -> None:
    def make(original: Any) -> Any:
        def next_slice(self: Journal) -> Slice:
            step: Slice = original(self)
            if step.writes:
                self.folded(step, 0)
                self.mods.update(dict.fromkeys(step.writes, 0))
                return next_slice(self)
            return step

        return next_slice

    patch.wrap(Journal, "next_slice", make)


@mutation(
    SHELL, "reload_before_new_epoch", "after a lost commit the ledger is read first and the fence rewritten then", "I4"
)
def _reload_before_new_epoch(patch: Patch) -> None:
    owing: set[EtcdStore] = set()
    refence = vars(EtcdStore)["refence"]

    async def later(self: EtcdStore) -> int:
        owing.add(self)
        self._uncertain = False
        return self._epoch

    def make(original: Any) -> Any:
        async def load(self: EtcdStore) -> Any:
            loaded = await original(self)
            if self in owing:
                owing.discard(self)
                journal = self._journal
                await refence(self)
                self._journal = journal
            return loaded

        return load

    patch.wrap(EtcdStore, "refence", lambda _: later)
    patch.wrap(EtcdStore, "load", make)


# -- the SDK -------------------------------------------------------------------------------------------------------


@mutation(SHELL, "release_on_exception", "leaving a hold without a word gives its zones back", "I1", "I2")
def _release_on_exception(patch: Patch) -> None:
    def make(original: Any) -> Any:
        def abandon(
            self: AgentCore, held: HeldGrant, cause: pb.AbandonCause.ValueType = pb.ABANDON_CAUSE_ABANDONED
        ) -> int:
            if cause == pb.ABANDON_CAUSE_ABANDONED:
                return self.release(held)
            entry: int = original(self, held, cause)
            return entry

        return abandon

    patch.wrap(AgentCore, "abandon", make)


@mutation(SHELL, "d_from_receipt", "the holder's time counts from when the grant arrives", "I1", "I6")
def _d_from_receipt(patch: Patch) -> None:
    received: dict[AgentCore, int] = {}

    def note(original: Any) -> Any:
        def take_answer(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
            received[agent] = now_ns
            original(agent, answer, now_ns)

        return take_answer

    def make(original: Any) -> Any:
        def deadline_ns(self: AgentCore, granted: pb.Granted | pb.Extended) -> int | None:
            return holder_deadline_ns(
                received[self], granted.remaining_ms, rho_ppm=self.stream.rho_ppm, stop_ms=self.spec.stop_ms
            )

        return deadline_ns

    patch.wrap(session_stream, "take_answer", note)
    patch.wrap(AgentCore, "deadline_ns", make)

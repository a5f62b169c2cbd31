"""Proving that blocked zones are empty again: a nonce, and fresh reports from outside that carry it.

Rule (I2): only a report that was made after the nonce arrived carries it, and carries it once; nothing that waited for
a link, and nothing that is sent again, proves anything. One proof at a time, as the coordinator keeps one nonce an
agent. Imports no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zonelock.v1 import zone_service_pb2 as pb

from zonelock_client.session_core.values import NS_PER_MS, Done, Outcome, ProofChallenged, ProofEnded, Rejection

if TYPE_CHECKING:
    from zonelock_client.session_core.agent import AgentCore

ASK_AGAIN_MS = 1_000
"""Enough reports left, or a question for a nonce, and no answer: ask (again) for one. The coordinator drops a nonce
without a word when it restarts and when a person clears the zones."""


@dataclass(slots=True, eq=False)
class Proof:
    """A proof under way. `nonce` is 0 until the coordinator made one up; `zones` may be empty when not known."""

    operation: pb.Operation
    token: int
    zones: frozenset[str]
    nonce: int = 0
    samples: int = 0
    spacing_ns: int = 0
    left: int = 0
    left_ns: int = 0
    challenged: bool = False
    ask_again_ns: int | None = None


def begin(agent: AgentCore, token: int, zones: tuple[str, ...]) -> None:
    """Queues the question for a nonce; an earlier proof is given up."""
    operation = pb.Operation(agent_id=agent.spec.agent_id, prove_vacancy=pb.ProveVacancy(token=token))
    agent.proof = Proof(operation, token, frozenset(zones))
    agent.say(operation)


def give_up(agent: AgentCore, token: int) -> None:
    """Nobody waits for the proof any more; reports carry its nonce no longer."""
    if agent.proof is not None and agent.proof.token == token:
        agent.proof = None


def challenged(agent: AgentCore, challenge: pb.Challenged) -> None:
    proof = agent.proof
    if proof is None or proof.token != challenge.token:
        return
    proof.nonce, proof.samples, proof.left = challenge.nonce, challenge.samples, 0
    proof.spacing_ns = challenge.spacing_ms * NS_PER_MS
    proof.challenged, proof.ask_again_ns = True, None
    agent.notify(ProofChallenged(agent.spec.agent_id, proof.token, challenge.spacing_ms))


def stamp(agent: AgentCore, telemetry: pb.Telemetry) -> pb.Telemetry:
    """A report made now: with the nonce if there is one. A report from inside ends the proof."""
    proof = agent.proof
    if proof is None or not telemetry.inside_known:
        return telemetry
    inside = sorted(proof.zones.intersection(telemetry.inside_zones))
    if inside:
        message = f"the agent reports that it is inside {', '.join(inside)}; leave, then prove it"
        end(agent, proof, Rejection("STILL_INSIDE", message, tuple(inside)))
        return telemetry
    stamped = pb.Telemetry()
    stamped.CopyFrom(telemetry)
    stamped.nonce = proof.nonce
    return stamped


def left(agent: AgentCore, telemetry: pb.Telemetry, now_ns: int) -> pb.Telemetry:
    """A report leaves; what is kept of it, for a later stream, is no proof any more."""
    if not telemetry.nonce:
        return telemetry
    proof = agent.proof
    counts = proof is not None and telemetry.nonce == proof.nonce
    if proof is not None and counts and (not proof.left or now_ns - proof.left_ns >= proof.spacing_ns):
        proof.left += 1
        proof.left_ns = now_ns
        if proof.left == proof.samples:
            # The spacing is measured where reports arrive, so a few more of them may be needed.
            proof.ask_again_ns = now_ns + max(ASK_AGAIN_MS * NS_PER_MS, proof.samples * proof.spacing_ns)
    kept = pb.Telemetry()
    kept.CopyFrom(telemetry)
    kept.nonce = 0
    return kept


def ask_again(agent: AgentCore) -> None:
    """Another nonce: after a reconnection, or when the last one came to nothing."""
    proof = agent.proof
    if proof is not None:
        proof.nonce, proof.ask_again_ns = 0, None
        agent.say(proof.operation)


def advance(agent: AgentCore, now_ns: int) -> None:
    proof = agent.proof
    if proof is None:
        return
    if proof.ask_again_ns is not None and now_ns >= proof.ask_again_ns:
        ask_again(agent)
    if not proof.nonce and proof.ask_again_ns is None and agent.welcomed:
        proof.ask_again_ns = now_ns + 2 * ASK_AGAIN_MS * NS_PER_MS


def released(agent: AgentCore, token: int) -> None:
    proof = agent.proof
    if proof is not None and proof.token == token:
        end(agent, proof, Done())


def rejected(agent: AgentCore, token: int, rejection: Rejection) -> bool:
    """A rejection that answers the question for a nonce; False when it answers something else."""
    proof = agent.proof
    if proof is None or proof.token != token:
        return False
    # No zones: nothing is blocked any more, somebody looked and cleared it while the proof was under way.
    end(agent, proof, Done() if proof.challenged and not rejection.zones else rejection)
    return True


def end(agent: AgentCore, proof: Proof, outcome: Outcome) -> None:
    agent.proof = None
    agent.notify(ProofEnded(agent.spec.agent_id, proof.token, outcome))

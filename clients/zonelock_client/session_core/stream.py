"""One stream's half of the session: frames out, answers in, and the link's freshness.

Rules: a frame is numbered and its send time noted by `next_frame`, before anyone writes it. A stream on which nothing
is acknowledged is to be replaced (`restart_because`); what its agents asked and owe survives it. Where there is
another coordinator that is so after `suspend_ms`; the only one is kept until the link is LOST, because a coordinator
whose store fails acknowledges nothing and still lets stops out. Imports no I/O.
"""

from __future__ import annotations

from zonelock.v1 import floor_pb2
from zonelock.v1 import zone_service_pb2 as pb

from zonelock_client.session_core import stop_news
from zonelock_client.session_core.agent import AgentCore, FrameBudget, StreamFacts
from zonelock_client.session_core.answers import latch, take_answer
from zonelock_client.session_core.frames import FrameLog
from zonelock_client.session_core.values import (
    NS_PER_MS,
    AgentSpec,
    Done,
    LedgerMark,
    Notice,
    Settled,
)


class SessionCore:
    """The agents of one stream. All methods take the time; none blocks; `take_notices` says what happened.

    `alternatives`: there are other coordinators to try.
    """

    def __init__(self, now_ns: int, *, alternatives: bool = True) -> None:
        self._alternatives = alternatives
        self._facts = StreamFacts(contact_ns=now_ns)
        self._agents: dict[str, AgentCore] = {}
        self._opened_ns = now_ns
        self._sent_ns = now_ns
        self._advanced_ns = now_ns
        self._patient_until_ns = now_ns

    # -- agents --------------------------------------------------------------------------------------------------

    @property
    def agents(self) -> dict[str, AgentCore]:
        return self._agents

    @property
    def epoch(self) -> int:
        """The highest fence seen in the ledger's present incarnation."""
        return self._facts.ledger.epoch

    @property
    def is_up(self) -> bool:
        return self._facts.up

    @property
    def restart_because(self) -> str:
        """Why the shell should drop the stream and try the next coordinator; empty when it should not."""
        return self._facts.restart_because

    def add_agent(self, spec: AgentSpec, now_ns: int) -> AgentCore:
        """Adds an agent; its hello leaves with the next frame. Raises ValueError when the id is taken."""
        if spec.agent_id in self._agents:
            raise ValueError(f"agent_id {spec.agent_id!r} is already on this stream; use the agent that you have")
        agent = AgentCore(spec, self._facts, now_ns)
        self._agents[spec.agent_id] = agent
        if self._facts.up:
            agent.stream_opened()
        return agent

    def remove_agent(self, agent_id: str) -> None:
        """Forgets an agent without a word to the coordinator."""
        self._agents.pop(agent_id, None)
        self._facts.waiting.pop(agent_id, None)
        self._facts.owing.pop(agent_id, None)

    # -- the stream ----------------------------------------------------------------------------------------------

    def stream_opened(self, now_ns: int) -> None:
        facts = self._facts
        facts.frames = FrameLog()
        facts.up = True
        facts.restart_because = ""
        self._opened_ns = self._sent_ns = self._patient_until_ns = now_ns
        for agent in self._agents.values():
            agent.stream_opened()

    def stream_closed(self, now_ns: int) -> None:
        self._facts.up = False
        self._facts.waiting.clear()
        for agent in self._agents.values():
            agent.stream_closed(now_ns)

    def has_frame(self, now_ns: int) -> bool:
        """Whether there is anything to write now."""
        facts = self._facts
        if not facts.up or facts.frames.is_full:
            return False
        heartbeat_due = now_ns - self._sent_ns >= facts.heartbeat_ms * NS_PER_MS
        return bool(facts.waiting) or heartbeat_due or not facts.frames.last

    def next_frame(self, now_ns: int) -> pb.SessionRequest | None:
        """The frame to write now, or None. `now_ns` must be read before the write, never after."""
        facts = self._facts
        if not self.has_frame(now_ns):
            return None
        number = facts.frames.open(now_ns)
        self._sent_ns = now_ns
        request = pb.SessionRequest(frame=number)
        budget = FrameBudget()
        while facts.waiting and budget.is_left:
            agent_id = next(iter(facts.waiting))
            agent = self._agents[agent_id]
            request.operations.extend(agent.take_operations(number, budget, now_ns))
            del facts.waiting[agent_id]
            if agent.has_more:
                facts.waiting[agent_id] = None
        return request

    def receive(self, response: pb.SessionResponse, now_ns: int) -> None:
        """Takes one frame of answers. Answers first, then the acknowledgement that may settle what has no answer.

        Of a leader that was superseded (a lower fence than one seen) only stops are taken: what it says of grants and
        of the link was true of another time.
        """
        facts = self._facts
        mark = LedgerMark(response.newest_token, response.epoch, response.revision)
        if mark.is_behind(facts.ledger):
            self._hear_superseded(response, now_ns)
            return
        facts.ledger = facts.ledger.joined(mark)
        for answer in response.answers:
            agent = self._agents.get(answer.agent_id)
            if agent is None:
                continue
            if answer.WhichOneof("kind") == "welcome":
                self._take_timing(answer.welcome)
            take_answer(agent, answer, now_ns)
        sent_ns = facts.frames.acknowledge(response.ack_frame)
        if sent_ns is not None and sent_ns > facts.contact_ns:
            was_silent = now_ns - facts.contact_ns >= facts.suspend_ms * NS_PER_MS
            facts.contact_ns = sent_ns
            if was_silent:
                for agent in self._agents.values():
                    agent.announce_link(now_ns)
        self._settle_committed()

    def _hear_superseded(self, response: pb.SessionResponse, now_ns: int) -> None:
        told = False
        for answer in response.answers:
            agent = self._agents.get(answer.agent_id)
            if agent is not None and answer.WhichOneof("kind") == "stop_raised":
                take_answer(agent, answer, now_ns)
                told = True
        if not told:  # a stop leaves ahead of the commit that may raise the incarnation; anything else is a zombie's
            self._facts.restart_because = self._facts.restart_because or (
                f"a leader with fence {response.epoch} answered after one with fence {self._facts.ledger.epoch}"
            )

    def hear_stop(self, source: str, stop: floor_pb2.Stop) -> None:
        """Takes what a coordinator, leading or not, tells of a stop outside the session. Idempotent."""
        stop_news.hear(self._facts, self._agents.values(), source, stop, latch)

    def stops_silent(self, source: str) -> None:
        """A coordinator's stops are not heard any more. No reason to halt; what is latched stays so."""
        stop_news.silent(self._facts, source)

    def advance(self, now_ns: int) -> None:
        """Lets time pass. Call at least at `next_wakeup_ns`; oftener does no harm."""
        facts = self._facts
        suspend_ns = facts.suspend_ms * NS_PER_MS
        if now_ns - self._advanced_ns > suspend_ns // 2:
            # The shell itself stood still (a blocked event loop): its silence is no sign of a dead coordinator.
            self._patient_until_ns = now_ns + suspend_ns
        self._advanced_ns = now_ns
        for agent in self._agents.values():
            agent.advance(now_ns)
        if facts.up and now_ns >= self._restart_at_ns():
            facts.restart_because = facts.restart_because or f"nothing acknowledged for {self._patience_ms} ms"

    def next_wakeup_ns(self) -> int | None:
        """The next time at which `advance` or `next_frame` may have something to do."""
        facts = self._facts
        times = [at_ns for agent in self._agents.values() if (at_ns := agent.next_wakeup_ns()) is not None]
        if facts.up:
            times.append(self._sent_ns + facts.heartbeat_ms * NS_PER_MS)
            if not facts.restart_because:
                times.append(self._restart_at_ns())
        return min(times, default=None)

    def take_notices(self) -> list[Notice]:
        """What happened since the last call, oldest first."""
        notices = self._facts.notices
        self._facts.notices = []
        return notices

    # -- inside --------------------------------------------------------------------------------------------------

    @property
    def _patience_ms(self) -> int:
        return self._facts.suspend_ms if self._alternatives else self._facts.lost_ms

    def _restart_at_ns(self) -> int:
        silent_since_ns = max(self._facts.contact_ns, self._opened_ns)
        return max(silent_since_ns + self._patience_ms * NS_PER_MS, self._patient_until_ns)

    def _take_timing(self, welcome: pb.Welcome) -> None:
        facts = self._facts
        facts.heartbeat_ms = welcome.heartbeat_ms or facts.heartbeat_ms
        facts.suspend_ms = welcome.suspend_ms or facts.suspend_ms
        facts.lost_ms = welcome.lost_ms or facts.lost_ms
        facts.rho_ppm = welcome.rho_ppm or facts.rho_ppm
        # A welcome answers a hello of this stream, and none left before the stream's first frame.
        first_ns = facts.frames.sent_ns(1)
        if first_ns is not None:
            facts.contact_ns = max(facts.contact_ns, first_ns)

    def _settle_committed(self) -> None:
        facts = self._facts
        for agent_id in list(facts.owing):
            agent = self._agents[agent_id]
            for entry in agent.outbox.committed(facts.frames.acknowledged):
                facts.notices.append(Settled(agent_id, entry.entry_id, Done()))
            if not agent.outbox.awaits_commit():
                del facts.owing[agent_id]

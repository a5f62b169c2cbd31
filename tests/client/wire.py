"""A session core on virtual time with a hand-written coordinator at the other end of the wire."""

from __future__ import annotations

from zonelock.v1 import zone_service_pb2 as pb
from zonelock_client.session_core import AgentCore, AgentSpec, SessionCore
from zonelock_client.session_core.values import NS_PER_MS, Notice

START_NS = 1_000_000_000_000
RHO_PPM = 10_000


def spec(agent_id: str = "A", *, stop_ms: int = 200, auto_extend: bool = False, highest_token: int = 0) -> AgentSpec:
    return AgentSpec(
        vehicle_watchdog=True,
        agent_id=agent_id,
        agent_kind="agv",
        session_secret=b"s" * 32,
        request_prefix="r",
        stop_ms=stop_ms,
        auto_extend=auto_extend,
        highest_token=highest_token,
        standing_zones=("Z_STAND",),
    )


class Wire:
    """Keeps the time, collects frames and notices, answers as told."""

    def __init__(self, *specs: AgentSpec, welcome: bool = True, alternatives: bool = True) -> None:
        self.now_ns = START_NS
        self.core = SessionCore(self.now_ns, alternatives=alternatives)
        self.agents = [self.core.add_agent(s, self.now_ns) for s in specs or (spec(),)]
        self.frames: list[pb.SessionRequest] = []
        self.notices: list[Notice] = []
        self.core.stream_opened(self.now_ns)
        self.flush()
        if welcome:
            self.welcome()

    @property
    def agent(self) -> AgentCore:
        return self.agents[0]

    def pass_ms(self, ms: float) -> None:
        self.now_ns += round(ms * NS_PER_MS)
        self.core.advance(self.now_ns)
        self.collect()

    def collect(self) -> None:
        self.notices += self.core.take_notices()

    def of(self, kind: type[Notice]) -> list[Notice]:
        self.collect()
        return [n for n in self.notices if isinstance(n, kind)]

    def flush(self) -> list[pb.SessionRequest]:
        """Every frame that the core wants written now."""
        sent = []
        while (frame := self.core.next_frame(self.now_ns)) is not None:
            sent.append(frame)
        self.frames += sent
        return sent

    def operations(self) -> list[pb.Operation]:
        return [operation for frame in self.flush() for operation in frame.operations]

    def kinds(self) -> list[str]:
        return [str(operation.WhichOneof("kind")) for operation in self.operations()]

    @property
    def newest(self) -> int:
        return self.frames[-1].frame

    def say(self, *answers: pb.Answer, ack: int = 0, epoch: int = 0, revision: int = 0, newest_token: int = 0) -> None:
        for answer in answers:
            answer.agent_id = answer.agent_id or self.agents[0].spec.agent_id
        response = pb.SessionResponse(
            answers=answers,
            ack_frame=ack,
            epoch=epoch or self.core.epoch or 1,
            revision=revision,
            newest_token=newest_token,
        )
        self.core.receive(response, self.now_ns)
        self.collect()

    def welcome(self, *grants: pb.Granted, agent_id: str = "", stops: tuple[str, ...] = ()) -> None:
        for each in [agent_id] if agent_id else [a.spec.agent_id for a in self.agents]:
            welcome = pb.Welcome(heartbeat_ms=500, suspend_ms=1_500, lost_ms=5_000, rho_ppm=RHO_PPM, grants=grants)
            for stop_id in stops:
                welcome.active_stops.add(stop_id=stop_id, active=True)
            self.say(pb.Answer(agent_id=each, welcome=welcome), ack=self.newest)

    def reconnect(self, away_ms: float = 0) -> list[pb.Operation]:
        """The stream breaks and a new one opens; returns the hellos."""
        self.core.stream_closed(self.now_ns)
        self.pass_ms(away_ms)
        self.core.stream_opened(self.now_ns)
        return self.operations()

    def granted(
        self, token: int, *zones: str, request_id: str, expected_ms: int = 8_000, echo: int | None = None
    ) -> pb.Answer:
        return pb.Answer(
            request_id=request_id,
            granted=grant(token, *zones, expected_ms=expected_ms, echo=self.newest if echo is None else echo),
        )

    def hold(self, token: int, *zones: str, expected_ms: int = 8_000) -> str:
        """Asks and is granted at once; returns the request id."""
        request_id = self.agent.ask(zones, expected_ms)
        self.flush()
        granted = self.granted(token, *zones, request_id=request_id, expected_ms=expected_ms)
        granted.granted.request_id = request_id
        self.say(granted, ack=self.newest)
        return request_id


def grant(
    token: int, *zones: str, expected_ms: int = 8_000, remaining_ms: int | None = None, echo: int, request_id: str = ""
) -> pb.Granted:
    return pb.Granted(
        token=token,
        zones=zones,
        slots=[0] * len(zones),
        expected_ms=expected_ms,
        remaining_ms=expected_ms if remaining_ms is None else remaining_ms,
        echo_frame=echo,
        request_id=request_id,
    )


def rejected(
    reason: pb.RejectReason.ValueType,
    *,
    token: int = 0,
    request_id: str = "",
    zones: tuple[str, ...] = (),
    stop_ids: tuple[str, ...] = (),
) -> pb.Answer:
    answer = pb.Rejected(reason=reason, message="no", token=token, zones=zones, stop_ids=stop_ids)
    return pb.Answer(request_id=request_id, rejected=answer)


def failed(code: int, reason: str, *, request_id: str = "", token: int = 0, retry_ms: int = 0) -> pb.Answer:
    failure = pb.Failed(code=code, reason=reason, message="wrong", retry_ms=retry_ms)
    if token:
        failure.metadata["token"] = str(token)
    return pb.Answer(request_id=request_id, failed=failure)


def stop(stop_id: str, *, ended: bool = False) -> pb.Answer:
    answer = pb.Answer()
    raised = answer.stop_ended.stop if ended else answer.stop_raised.stop
    raised.stop_id, raised.reason, raised.active = stop_id, "test", not ended
    return answer

"""The vehicle's half of a permit: a watchdog for a controller that does not itself talk to the coordinator.

A fleet gateway holds grants for vehicles that it reaches over a radio. Its own dead-man halts nothing when the gateway
freezes or the radio fails, so time is kept where motion is:

    ask = watch.ask()                      # on the vehicle; the ask travels to the gateway and comes back
    permit = grant.permit()                # on the gateway, as the answer
    watch.offer(permit, ask)               # on the vehicle, whenever the answer comes
    while watch.may_move(zones): drive()   # before every motion command; a thread halts in any case

Rules owned here:

* A permit's time counts from when the vehicle *asked* for it, never from its receipt: the ask left before the permit
  was issued, so the vehicle's deadline lies before the gateway's whatever the radio delays. The watch takes only asks
  that it made itself, so an answer of an earlier run, or from before a reboot, counts for nothing.
* No token below the highest seen for a zone is obeyed (I3), nor one from before a stop.
* A latched stop beats any permit until a reset names it, and a reset restarts nothing (I5): a new grant is needed.

Imports the standard library only and nothing of this package, on purpose: this one file may be copied to a controller
that has neither gRPC nor zonelock.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

logger = logging.getLogger("zonelock.vehicle")

FORMAT = "zonelock.permit/1"
NS_PER_MS = 1_000_000
MAX_SLEEP_S = 0.05
"""Waits count monotonic time, which stands still in system sleep: look at the clock at least this often."""
HALT_AGAIN_S = 0.05
"""How soon a halt that raised is tried again."""
CLOSE_WAIT_S = 1.0
ASKS_REMEMBERED = 1_024
TOKENS_REMEMBERED = 1_024
MAX_ZONES = 32
MAX_PERMIT_MS = 86_400_000
MAX_PERMIT_BYTES = 16_384


def boottime_ns() -> int:
    """Nanoseconds since boot, sleep included (Linux CLOCK_BOOTTIME)."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class PermitError(ValueError):
    """What was received is no permit. The message names the field, the value and what would be right."""


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to move in `zones` for `expires_ms` from the moment of issue.

    `expires_ms` 0 withdraws what earlier permits of the token allowed. `issued_boottime_ns` is the issuer's clock, for
    logs; no vehicle may compare it with its own.
    """

    token: int
    zones: tuple[str, ...]
    agent_id: str
    expires_ms: int
    issued_boottime_ns: int

    def __post_init__(self) -> None:
        _whole("token", self.token, 1, 2**63 - 1)
        _whole("expires_ms", self.expires_ms, 0, MAX_PERMIT_MS)
        _whole("issued_boottime_ns", self.issued_boottime_ns, 0, 2**63 - 1)
        _name("agent_id", self.agent_id)
        for zone in self.zones:
            _name("zones", zone)
        if len(self.zones) > MAX_ZONES:
            raise PermitError(f"zones names {len(self.zones)} zones; a grant has at most {MAX_ZONES}")

    @property
    def is_withdrawal(self) -> bool:
        return self.expires_ms == 0 or not self.zones

    def to_json(self) -> str:
        """One line of JSON; integers of up to 63 bits, so read the token as a 64-bit number."""
        fields = {
            "format": FORMAT,
            "token": self.token,
            "zones": list(self.zones),
            "agent_id": self.agent_id,
            "expires_ms": self.expires_ms,
            "issued_boottime_ns": self.issued_boottime_ns,
        }
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The permit that `to_json` wrote; unknown fields are ignored. Raises PermitError for anything else."""
        if len(text) > MAX_PERMIT_BYTES:
            raise PermitError(f"a permit of {len(text)} bytes; the largest has {MAX_PERMIT_BYTES}")
        try:
            fields: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PermitError(f"a permit must be JSON: {error}") from error
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise PermitError(f"a permit must be a JSON object with format {FORMAT!r}")
        zones = fields.get("zones")
        if not isinstance(zones, list):
            raise PermitError(f"zones={zones!r} must be a list of zone names")
        names = ("token", "agent_id", "expires_ms", "issued_boottime_ns")
        missing = [name for name in names if name not in fields]
        if missing:
            raise PermitError(f"the permit lacks {', '.join(missing)}")
        return cls(
            token=fields["token"],
            zones=tuple(zones),
            agent_id=fields["agent_id"],
            expires_ms=fields["expires_ms"],
            issued_boottime_ns=fields["issued_boottime_ns"],
        )

    def to_bytes(self) -> bytes:
        return self.to_json().encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        return cls.from_json(data)


class Verdict(StrEnum):
    """What became of an offered permit. Only TAKEN and WITHDRAWN change anything."""

    TAKEN = "taken"
    WITHDRAWN = "withdrawn"
    """It ends what its token allowed."""
    FOREIGN = "foreign"
    """It is for another agent."""
    UNASKED = "unasked"
    """This watch never made that ask, or so long ago that it forgot it."""
    OUTDATED = "outdated"
    """It answers an older ask than the newest answer of its token, or one from before the last reset."""
    LATE = "late"
    """Counted from its ask, its time is over."""
    FENCED = "fenced"
    """Its token is below the highest seen for a zone, or from before a stop."""
    STOPPED = "stopped"
    """A stop is latched."""


@dataclass(slots=True)
class _Standing:
    """What the newest answer of a token says, and until when any answer of it allows motion."""

    zones: frozenset[str]
    until_ns: int
    asked_ns: int


class PermitWatch:
    """Decides on the vehicle whether it may move, and halts it from a thread of its own when it no longer may.

    `on_halt(why)` is called on that thread and must be short, thread-safe and idempotent; one that raises is called
    again every 50 ms, and nothing may move until it returned. It is called when the permits for the zones of the last
    `may_move` that was True run out or are withdrawn, and for every stop. `highest_tokens` and `latched` bring back
    what an earlier run of the controller kept. All methods are thread-safe.
    """

    def __init__(
        self,
        agent_id: str,
        *,
        on_halt: Callable[[str], None],
        highest_tokens: Mapping[str, int] | None = None,
        latched: Iterable[str] = (),
        clock: Callable[[], int] = boottime_ns,
    ) -> None:
        self._agent_id = agent_id
        self._on_halt = on_halt
        self._clock = clock
        self._highest: dict[str, int] = dict(highest_tokens or {})
        self._latched: dict[str, None] = dict.fromkeys(latched)
        self._asks: OrderedDict[int, None] = OrderedDict()
        self._permits: dict[int, _Standing] = {}
        self._void_upto = max(self._highest.values(), default=0) if self._latched else 0
        self._asked_after_ns = -1
        self._guarded: frozenset[str] = frozenset()
        self._halts: list[str] = []
        self._halting = False
        self._closed = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="zonelock-permit-watch", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- permits ---------------------------------------------------------------------------------------------------

    def ask(self) -> int:
        """The time of an ask that leaves now, in nanoseconds: send it along, and hand its echo to `offer`."""
        with self._change:
            asked_ns = max(self._clock(), next(reversed(self._asks), -1) + 1)
            self._asks[asked_ns] = None
            if len(self._asks) > ASKS_REMEMBERED:
                self._asks.popitem(last=False)
            return asked_ns

    def offer(self, permit: Permit, asked_ns: int) -> Verdict:
        """Takes the answer to an ask, or refuses it. `asked_ns` is what `ask` gave, echoed by whoever issued it."""
        with self._change:
            verdict = self._judge(permit, asked_ns)
            if verdict is Verdict.TAKEN or verdict is Verdict.WITHDRAWN:
                self._take(permit, asked_ns)
                self._change.notify()
        if verdict not in (Verdict.TAKEN, Verdict.WITHDRAWN):
            logger.info("permit with token %d refused: %s", permit.token, verdict)
        return verdict

    def may_move(self, zones: Iterable[str]) -> bool:
        """Whether the vehicle may move in all of these zones now; ask before every motion command.

        `zones` are those that its contour touches or is about to touch. When True, the thread watches over these zones
        from now on. False for no zones at all, and in a process that was forked from the watch's own.
        """
        wanted = frozenset(zones)
        with self._change:
            until_ns = self._until_ns(wanted)
            if self._halting or self._halts or self._closed or self._clock() >= until_ns:
                return False
            if not self._thread.is_alive():
                return False
            if wanted != self._guarded:
                self._guarded = wanted
                self._change.notify()
            return True

    def remaining_ms(self, zones: Iterable[str]) -> int:
        """Milliseconds for which the vehicle may still move in all of these zones; 0 when it may not."""
        with self._change:
            return max(0, (self._until_ns(frozenset(zones)) - self._clock()) // NS_PER_MS)

    @property
    def highest_tokens(self) -> dict[str, int]:
        """The highest token seen for each zone; keep it over restarts of the controller."""
        with self._change:
            return dict(self._highest)

    # -- stops -----------------------------------------------------------------------------------------------------

    def stop(self, stop_id: str) -> None:
        """Latches a stop and halts at once. All permits end; grants from before the stop never count again.

        A repeat of a latched `stop_id` changes nothing, so it may be sent along with every answer.
        """
        with self._change:
            if stop_id in self._latched:
                return
            self._latched[stop_id] = None
            self._void_upto = max(self._void_upto, *self._permits, *self._highest.values(), 0)
            self._permits.clear()
            self._halts.append(f"stop {stop_id}")
            self._change.notify()

    def reset(self, stop_id: str) -> None:
        """Ends a latch, and nothing else: only a newer grant, asked for from now on, lets the vehicle move again."""
        with self._change:
            if stop_id in self._latched:
                del self._latched[stop_id]
                self._asked_after_ns = max(self._clock(), next(reversed(self._asks), -1))

    @property
    def latched(self) -> tuple[str, ...]:
        """Stops by which the vehicle is latched, oldest first; keep them over restarts of the controller."""
        with self._change:
            return tuple(self._latched)

    def close(self) -> None:
        """Halts if the vehicle may be moving, and ends the thread. Nothing may move any more."""
        with self._change:
            if not self._closed and self._guarded:
                self._halts.append("the permit watch was closed")
            self._closed = True
            self._change.notify()
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSE_WAIT_S)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _judge(self, permit: Permit, asked_ns: int) -> Verdict:
        standing = self._permits.get(permit.token)
        if permit.agent_id != self._agent_id:
            return Verdict.FOREIGN
        if asked_ns not in self._asks:
            return Verdict.UNASKED
        if asked_ns <= self._asked_after_ns or (standing is not None and asked_ns < standing.asked_ns):
            return Verdict.OUTDATED
        if permit.token <= self._void_upto:
            return Verdict.FENCED
        if any(permit.token < self._highest.get(zone, 0) for zone in permit.zones):
            return Verdict.FENCED
        if permit.is_withdrawal:
            return Verdict.WITHDRAWN  # it can only end motion, so no latch refuses it
        if self._latched:
            return Verdict.STOPPED
        return Verdict.TAKEN if self._clock() < asked_ns + permit.expires_ms * NS_PER_MS else Verdict.LATE

    def _take(self, permit: Permit, asked_ns: int) -> None:
        zones = frozenset() if permit.is_withdrawal else frozenset(permit.zones)
        until_ns = asked_ns + permit.expires_ms * NS_PER_MS
        known = self._permits.get(permit.token)
        if known is not None and not permit.is_withdrawal:
            until_ns = max(until_ns, known.until_ns)  # both are bounds on the same deadline; an older answer stays true
        self._permits[permit.token] = _Standing(zones, until_ns, asked_ns)
        for zone in permit.zones:
            self._highest[zone] = permit.token
        for token, standing in self._permits.items():
            if token < permit.token:
                standing.zones -= zones  # granted anew since
        if len(self._permits) > TOKENS_REMEMBERED:
            oldest = min(self._permits)
            del self._permits[oldest]
            self._void_upto = max(self._void_upto, oldest)

    def _until_ns(self, zones: frozenset[str]) -> int:
        """Until when motion in all of the zones is allowed; -1 when it is not allowed at all."""
        if not zones or self._latched:
            return -1
        covers = self._permits.values()
        return min(max((s.until_ns for s in covers if zone in s.zones), default=-1) for zone in zones)

    def _run(self) -> None:
        while True:
            with self._change:
                why = self._due()
                if not why:
                    if self._closed:
                        return
                    self._change.wait(self._pause_s())
                    continue
                self._halting = True
                self._guarded = frozenset()
            while not self._halt(why):
                time.sleep(HALT_AGAIN_S)
            with self._change:
                self._halting = False

    def _due(self) -> str:
        """Why the vehicle must halt now; empty when it need not."""
        if self._halts:
            why = "; ".join(self._halts)
            self._halts.clear()
            return why
        if self._guarded and self._clock() >= self._until_ns(self._guarded):
            return f"no permit any more for {', '.join(sorted(self._guarded))}"
        return ""

    def _pause_s(self) -> float:
        if not self._guarded:
            return MAX_SLEEP_S
        return min(MAX_SLEEP_S, max(0.0, (self._until_ns(self._guarded) - self._clock()) / 1e9))

    def _halt(self, why: str) -> bool:
        try:
            self._on_halt(why)
        except Exception:
            logger.exception("on_halt raised (%s); trying again, make sure by other means that the vehicle stands", why)
            return False
        return True


def _whole(field: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise PermitError(f"{field}={value!r} must be a whole number from {least} to {most}")


def _name(field: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise PermitError(f"{field}: {value!r} must be a name")

"""A process with simulated vehicles: bodies with inertia, a drive that keeps its last command, and the SDK's watch.

Started as `python -I -S dead_man_vehicle.py VEHICLE_PY AGENT_PORT PLANT LANE=CAR...`: nothing but the standard library
and the one file that a real controller would carry. Each car shuttles along its lane of zones `LANE_0`, `LANE_1`, ...
for as long as permits let it, so that it is in motion whenever its time runs out. Writes one JSON object for each
motion from standstill to standstill: that is the ground truth. Ends with its standard input.

PLANT "receipt": counts a permit from its receipt, as nobody may. PLANT "trusting": goes on until it is told to halt.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import select
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

ZONE_MM = 1_000.0
HALF_MM = 200.0
"""Half the length of the contour."""
SPEED = 800.0
"""mm/s."""
BRAKING = 16_000.0
"""mm/s², for speeding up as well: 50 ms and 20 mm to a stand."""
LOOK_AHEAD_MM = 300.0
"""How far the car looks for a zone that it may not enter: its braking, and some 300 ms of a late control step."""
STEP_S = 0.005
ASK_EVERY_NS = 40_000_000


def load(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("vehicle", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["vehicle"] = module
    spec.loader.exec_module(module)
    return module


@dataclass
class Body:
    """One dimension, exact between commands: the drive goes on with its last command however late the next one is."""

    x: float = 500.0
    v: float = 0.0
    target: float = 0.0
    at_ns: int = 0
    moving_since_ns: int = 0
    lo: float = 0.0
    hi: float = 0.0
    ordered_ns: int = 0
    """When the drive was last ordered to stand."""

    def advance(self, now_ns: int) -> int | None:
        """Moves on to `now_ns`; the time at which the body came to a stand meanwhile, or None."""
        left = (now_ns - self.at_ns) / 1e9
        changing = abs(self.target - self.v) / BRAKING
        stood_ns = None
        ramp = min(left, changing)
        if ramp > 0:
            end = self.target if changing <= left else self.v + (BRAKING if self.target > self.v else -BRAKING) * ramp
            self._shift((self.v + end) / 2 * ramp)
            if end == 0 == self.target:
                stood_ns = self.at_ns + round(ramp * 1e9)
            self.v = end
        self._shift(self.v * (left - ramp))
        self.at_ns = now_ns
        return stood_ns

    def order(self, target: float) -> None:
        if self.v == 0 and self.target == 0 and target:
            self.moving_since_ns = self.at_ns
            self.lo, self.hi = self.x, self.x
        if target == 0 and self.target:
            self.ordered_ns = self.at_ns
        self.target = target

    @property
    def stands(self) -> bool:
        return self.v == 0 and self.target == 0

    def _shift(self, by: float) -> None:
        self.x += by
        self.lo, self.hi = min(self.lo, self.x), max(self.hi, self.x)


@dataclass
class Car:
    """A controller. One lock for deciding and commanding, which the halt takes too: no command follows a halt."""

    name: str
    lane: str
    sdk: Any
    body: Body = field(default_factory=Body)
    direction: float = SPEED
    token: int = 0
    due_ns: int = 0
    newest_ask: int = 0
    halted_by: str = ""

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.body.at_ns = self.sdk.boottime_ns()
        self.watch = self.sdk.PermitWatch(self.name, on_halt=self.halt)

    def halt(self, why: str) -> None:
        with self.lock:
            self.pass_time()
            self.halted_by = self.halted_by or why
            self.body.order(0.0)

    def pass_time(self) -> None:
        stood_ns = self.body.advance(self.sdk.boottime_ns())
        if stood_ns is not None:
            self.write(stood_ns)

    def step(self) -> None:
        with self.lock:
            self.pass_time()
            for direction in (self.direction, -self.direction):
                if self.watch.may_move(self.reach(direction)):
                    self.direction, self.halted_by = direction, ""
                    self.body.order(direction)
                    return
            self.body.order(0.0)

    def reach(self, direction: float) -> list[str]:
        """Zones under the contour, and those that it would come to."""
        back, front = self.body.x - HALF_MM, self.body.x + HALF_MM
        if direction > 0:
            front += LOOK_AHEAD_MM
        else:
            back -= LOOK_AHEAD_MM
        return [f"{self.lane}_{n}" for n in range(int(back // ZONE_MM), int(front // ZONE_MM) + 1)]

    def take(self, answer: dict[str, Any], plant: str) -> None:
        ask = answer["ask"]
        if ask > self.newest_ask:
            self.newest_ask = ask
            for stop_id in set(answer["stops"]) - set(self.watch.latched):
                self.watch.stop(stop_id)
            for stop_id in set(self.watch.latched) - set(answer["stops"]):
                self.watch.reset(stop_id)
        if answer["permit"] is None:
            return
        permit = self.sdk.Permit.from_json(json.dumps(answer["permit"]))
        counted_from = self.watch.ask() if plant == "receipt" else ask
        if plant == "trusting" and not permit.is_withdrawal:
            permit = dataclasses.replace(permit, expires_ms=60_000)
        if self.watch.offer(permit, counted_from) == "taken":
            due_ns = counted_from + permit.expires_ms * 1_000_000
            self.due_ns = max(self.due_ns, due_ns) if permit.token == self.token else due_ns
            self.token = permit.token

    def write(self, stood_ns: int) -> None:
        body = self.body
        record = {
            "car": self.name,
            "token": self.token,
            "from_ns": body.moving_since_ns,
            "until_ns": stood_ns,
            "ordered_ns": body.ordered_ns,
            "due_ns": self.due_ns,
            "lo_mm": body.lo - HALF_MM,
            "hi_mm": body.hi + HALF_MM,
            "by": self.halted_by or "itself",
        }
        print(json.dumps(record), flush=True)


def main(argv: list[str]) -> None:
    path, port, plant, *lanes = argv
    sdk = load(path)
    cars = {name: Car(name, lane, sdk) for lane, _, name in (each.partition("=") for each in lanes)}
    gateway = ("127.0.0.1", int(port))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as radio:
        radio.setblocking(False)
        asked_ns = 0
        while not select.select([sys.stdin], [], [], 0)[0]:
            if sdk.boottime_ns() - asked_ns >= ASK_EVERY_NS:
                asked_ns = sdk.boottime_ns()
                for car in cars.values():
                    ask = {"car": car.name, "ask": car.watch.ask(), "stands": car.body.stands}
                    ask["latched"] = bool(car.watch.latched)
                    radio.sendto(json.dumps(ask).encode(), gateway)
            while select.select([radio], [], [], 0)[0]:
                answer = json.loads(radio.recv(65_536))
                cars[answer["car"]].take(answer, plant)
            for car in cars.values():
                car.step()
            time.sleep(STEP_S)
    for car in cars.values():
        car.watch.close()


if __name__ == "__main__":
    main(sys.argv[1:])

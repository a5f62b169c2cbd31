"""Transcripts: a scene as text. `>` lines say what happens, the indented lines below say what follows from it.

Rule: the text is the whole truth of a scene. Playing it again on unchanged code gives the same text, byte for byte, so
that a change of behaviour shows as a difference that a person reads. The verbs are listed in `docs/history.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.history import Line
from chaos.stories.floors import row_floor
from chaos.stories.scene import Scene
from chaos.stories.stage import Mishap
from chaos.stories.words import Teller
from coordinator.core.estop import deadline_stop_id
from coordinator.core.model import TOKEN_COUNTER_BITS
from coordinator.core.views import explain, zone_view

INDENT = "  "
FIRST_INCARNATION = 1 << TOKEN_COUNTER_BITS
FOLDER = Path(__file__).resolve().parent


class StoryError(ValueError):
    """A line of a story that cannot be played; says which and what would be right."""


@dataclass(frozen=True, slots=True)
class Course:
    """A played story: its text anew, and its scene."""

    text: str
    scene: Scene | None


def play(text: str, source: str) -> Course:
    """Plays a story. Raises StoryError with the line number."""
    player = Player()
    written: list[str] = []
    for number, row in enumerate(text.splitlines(), 1):
        if row.startswith(INDENT):
            continue  # what followed last time
        written.append(row)
        if not row.startswith(">"):
            continue
        try:
            followed = player.do(row[1:].split())
        except (Mishap, ValueError, LookupError) as error:
            raise StoryError(f"{source}:{number}: {row}: {error}") from error
        written.extend(INDENT + line for line in followed)
    return Course("\n".join(written) + "\n", player.scene)


Verb = Callable[[list[str]], list[str] | None]


class Player:
    """Carries out one verb after the other and tells what followed."""

    def __init__(self) -> None:
        self.scene: Scene | None = None
        self.teller = Teller()
        self._told = 0
        self._verbs: dict[str, Verb] = {
            "floor": self._floor, "hello": self._hello, "claim": self._claim, "ask": self._ask, "cancel": self._cancel,
            "extend": self._extend, "release": self._release, "abandon": self._give_up("abandon"),
            "park": self._give_up("park"),
            "standing": self._give_up("standing"), "prove": self._prove, "drive": self._drive, "report": self._report,
            "deaf": self._deaf, "hold": self._hold, "commit": self._commit, "lose": self._lose, "stop": self._stop,
            "reset": self._reset, "clear": self._clear, "revoke": self._revoke, "wait": self._wait,
            "liveness": self._liveness, "zones": self._zones, "explain": self._explain, "promises": self._promises,
        }  # fmt: skip
        self._simple = {
            "go": "go", "stand": "stand", "off": "drive_off", "tow": "tow", "acknowledge": "acknowledge", "cut": "cut",
            "heal": "heal", "drop": "drop", "back": "come_back", "kill": "kill", "crash": "crash",
            "restart": "restart", "enter": "enter", "leave": "leave",
        }  # fmt: skip

    @property
    def on(self) -> Scene:
        if self.scene is None:
            raise Mishap("there is no floor yet; begin with: floor A B C")
        return self.scene

    def do(self, words: Sequence[str]) -> list[str]:
        """One verb with its words; returns what followed, in words."""
        if not words:
            raise Mishap("nothing to do")
        name, rest = words[0], list(words[1:])
        said: list[str] | None = None
        if name in self._simple:
            getattr(self.on, self._simple[name])(*rest)
        elif name in self._verbs:
            said = self._verbs[name](rest)
        else:
            raise Mishap(f"{name!r} is no verb; there are {', '.join(sorted({*self._verbs, *self._simple}))}")
        return self._news(name) + (said or [])

    def _news(self, verb: str) -> list[str]:
        scene = self.on
        scene.settle()
        lines: list[Line] = scene.history.lines[self._told :]
        self._told = len(scene.history)
        return self.teller.tell(lines, verb) + [f"BROKEN: {problem}" for problem in scene.broken]

    # -- the stage -------------------------------------------------------------------------------------------------

    def _floor(self, words: list[str]) -> None:
        self.scene = Scene(row_floor(" ".join(words)))
        self._told = 0

    def _wait(self, words: list[str]) -> None:
        self.on.wait(_number(words))

    def _liveness(self, words: list[str]) -> None:
        self.on.liveness(_number(words))

    # -- agents ----------------------------------------------------------------------------------------------------

    def _hello(self, words: list[str]) -> None:
        agent, options = words[0], words[1:]
        via = ""
        spec: dict[str, Any] = {}
        for key, value in zip(options[::2], options[1::2], strict=True):
            if key == "via":
                via = value
            elif key == "secret":
                spec["secret"] = value.ljust(16, ".")
            elif key == "stands":
                spec["standing_zones"] = (value,)
            elif key == "kind":
                spec["agent_kind"] = value
            else:
                raise Mishap(f"{key!r}: give via, secret, stands or kind")
        vehicle = self.on.hello(agent, via=via, **spec)
        if "standing_zones" in spec and not vehicle.inside:
            self.on.enter(agent, spec["standing_zones"][0], by="people")

    def _claim(self, words: list[str]) -> None:
        self.on.claim(words[0], *words[1:])

    def _ask(self, words: list[str]) -> None:
        place = words.index("for")
        options = words[place + 2 :]
        priority = int(options[options.index("priority") + 1]) if "priority" in options else 0
        self.on.ask(words[0], *words[1:place], ms=int(words[place + 1]), priority=priority, no_wait="nowait" in options)

    def _cancel(self, words: list[str]) -> None:
        self.on.cancel(words[0])

    def _extend(self, words: list[str]) -> None:
        self.on.extend(words[0], int(words[1]))

    def _release(self, words: list[str]) -> None:
        self.on.release(words[0], *words[1:])

    def _give_up(self, how: str) -> Verb:
        return lambda words: self.on.give_up(words[0], how)

    def _prove(self, words: list[str]) -> None:
        vehicle = self.on.vehicle(words[0])
        self.on.prove(words[0], vehicle.core.highest_token)

    def _drive(self, words: list[str]) -> None:
        self.on.drive(words[0], words[-1])

    def _report(self, words: list[str]) -> None:
        inside = None if len(words) == 1 else set(words[1:]) - {"nowhere"}
        self.on.report(words[0], inside=inside)

    def _deaf(self, words: list[str]) -> None:
        self.on.vehicle(words[0]).deaf = True

    # -- the store -------------------------------------------------------------------------------------------------

    def _hold(self, words: list[str]) -> None:
        self.on.hold_commits()

    def _commit(self, words: list[str]) -> None:
        self.on.let_commit()

    def _lose(self, words: list[str]) -> None:
        self.on.lose(applied="applied" in words)

    # -- people ----------------------------------------------------------------------------------------------------

    def _stop(self, words: list[str]) -> None:
        match words[1:]:
            case ["zone", zone]:
                self.on.stop(words[0], zone=zone)
            case ["group", group]:
                self.on.stop(words[0], stop_group=group)
            case ["floor"]:
                self.on.stop(words[0], floor=True)
            case _:
                raise Mishap("stop ID zone Z, stop ID group G, or stop ID floor")

    def _reset(self, words: list[str]) -> list[str] | None:
        names, operator = _signed(words)
        return _refused(self.on.reset(*(_stop_id(name) for name in names), operator=operator))

    def _clear(self, words: list[str]) -> list[str] | None:
        names, operator = _signed(words)
        return _refused(self.on.clear(*names, operator=operator))

    def _revoke(self, words: list[str]) -> list[str] | None:
        names, operator = _signed(words)
        return _refused(self.on.revoke(agent_id=names[0], operator=operator))

    # -- looking ---------------------------------------------------------------------------------------------------

    def _zones(self, words: list[str]) -> list[str]:
        machine = self.on.machine
        if machine is None:
            return ["nobody leads"]
        said = []
        for name in words or sorted(machine.units.zone_names):
            view = zone_view(machine, name, self.on.now_ms)
            inside = ", ".join(
                f"{o.agent_id} ({o.state.value.lower()}{', orphaned' if o.orphaned else ''})"
                for o in view.occupants
                if o.agent_id and o.state.value != "FREE"
            )
            said.append(f"{name} {view.state.value}{': ' + inside if inside else ''}")
        return said

    def _explain(self, words: list[str]) -> list[str]:
        machine = self.on.machine
        return [self.teller.shorten(explain(machine, words[0], self.on.now_ms))] if machine is not None else []

    def _promises(self, words: list[str]) -> list[str]:
        found = self.on.verdict()
        return [v for violation in found for v in violation.splitlines()] or ["every promise is kept"]


def _number(words: list[str]) -> int:
    return int(words[0].replace("_", ""))


def _signed(words: list[str]) -> tuple[list[str], str]:
    """The names before `by`, and who signs; nobody when there is no `by`."""
    if "by" not in words:
        return words, ""
    place = words.index("by")
    return words[:place], " ".join(words[place + 1 :])


def _stop_id(name: str) -> str:
    """`deadline:7` as a story says it, with its whole token."""
    kind, _, counter = name.partition(":")
    return deadline_stop_id(FIRST_INCARNATION | int(counter)) if kind == "deadline" else name


def _refused(answer: object) -> list[str] | None:
    message = getattr(answer, "message", "")
    return [f"refused: {message}"] if message else None

"""A failing plan in words: who was there, what went wrong when, and the last lines before a promise broke."""

from __future__ import annotations

from chaos.checkers.verdict import tell
from chaos.history import Line
from chaos.sim.plan import Fault, FaultKind, Plan
from chaos.sim.world import Outcome

LAST_LINES = 24

_WORDS = {
    FaultKind.CRASH: "{target} is killed after {value} more task switches, and started again {lasts} later",
    FaultKind.POWER: "{target} loses power after {value} more task switches, and is started again {lasts} later",
    FaultKind.PAUSE: "{target} is stopped (SIGSTOP) for {lasts}",
    FaultKind.COMMIT: "the next commit meets trouble: {how} ({value} ms)",
    FaultKind.STOP_COMMIT: "the commit of the next stop meets trouble: {how} ({value} ms)",
    FaultKind.ETCD_CUT: "{target} is cut off from etcd for {lasts}",
    FaultKind.ETCD_SLOW: "etcd answers {target} up to {value} ms late for {lasts}",
    FaultKind.CUT: "nothing passes between {target} and {how} for {lasts}",
    FaultKind.CUT_UP: "nothing passes from {target} to {how} for {lasts}",
    FaultKind.CUT_DOWN: "nothing passes from {how} to {target} for {lasts}",
    FaultKind.SLOW: "the way between {target} and {how} takes {value} ms for {lasts}",
    FaultKind.LOSSY: "{value} of 1000 packets between {target} and {how} are lost for {lasts}",
    FaultKind.RADIO: "{target}'s radio is dead for {lasts}",
    FaultKind.REBOOT: "{target}'s computer reboots ({how} its session secret), back after {lasts}",
    FaultKind.AGENT_PAUSE: "{target}'s process is stopped (SIGSTOP) for {lasts}",
    FaultKind.STUCK: "a wheel of {target} is stuck for {lasts}",
    FaultKind.LATE_RELEASE: "{target} gives its next zone back {value} ms late",
    FaultKind.CLONE: "another client calls itself {target} for {lasts} and wants {how}",
    FaultKind.MISUSE: "the software of {target} makes a mistake for {lasts}: {how}",
    FaultKind.OPERATOR_STOP: "an operator stops {target}",
    FaultKind.EARLY_RELEASE: "{target} gives back zones that it still stands in",
    FaultKind.FOREIGN_WRITE: "a person with a shell rewrites a record of {target} in etcd",
    FaultKind.RESTORE: "etcd is put back to a copy from {value} ms ago, with every coordinator down for {lasts}",
    FaultKind.AGENT_STOP: "{target} presses its stop button for {how}",
}


def fault_in_words(fault: Fault) -> str:
    lasts = f"{fault.lasts_ms / 1_000:g} s"
    words = _WORDS[fault.kind].format(target=fault.target, value=fault.value, lasts=lasts, how=fault.how)
    return f"{fault.at_ms / 1_000:8.3f} s  {words}"


def plan_in_words(plan: Plan) -> str:
    """The cast and the troubles."""
    agents = ", ".join(f"{name} in {zone}" for name, zone, _ in plan.robots)
    lines = [
        f"Seed {plan.seed}: floor {plan.shape}, {plan.coordinators} coordinator(s); {agents}.",
        *(fault_in_words(f) for f in plan.faults if f.at_ms <= plan.safety_ms),
        f"{plan.safety_ms / 1_000:8.3f} s  all is healed",
    ]
    return "\n".join(lines)


def story(outcome: Outcome) -> str:
    """The whole of it."""
    told = [line for line in outcome.history if _tells(line)]
    return "\n".join(
        [
            plan_in_words(outcome.plan),
            "",
            "The last that was seen:",
            *(f"  {tell(line)}" for line in told[-LAST_LINES:]),
            "",
            *(f"Broken: {violation}" for violation in outcome.violations),
        ]
    )


def _tells(line: Line) -> bool:
    return line.get("op") != "heartbeat" and line.kind not in ("header", "floor")

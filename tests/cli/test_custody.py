"""The warden: a held command ends when it must, with all that it started, whatever becomes of the process that asked
for it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from zonelock_cli.custody import Custody, Ending, NotStarted
from zonelock_cli.warden import group_lives

NEVER_NS = 1 << 62
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def boottime_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


async def gone(group: int, within_s: float = 5.0) -> None:
    give_up = time.monotonic() + within_s
    while group_lives(group):
        assert time.monotonic() < give_up, f"process group {group} still lives"
        await asyncio.sleep(0.01)


def written(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def until_written(path: Path, within_s: float = 20.0) -> str:
    """What another process wrote; nothing can be awaited on its behalf."""
    give_up = time.monotonic() + within_s
    while True:
        if text := written(path):
            return text
        assert time.monotonic() < give_up, f"nothing was written to {path}"
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("code", [0, 1, 7, 255])
async def test_a_command_that_ends_by_itself_keeps_its_exit_code(code: int) -> None:
    custody = await Custody.begin(["sh", "-c", f"exit {code}"], grace_ms=100, until_ns=NEVER_NS)
    assert await custody.ended == Ending(code, "itself")


async def test_a_command_that_a_signal_ended_reports_as_a_shell_would() -> None:
    custody = await Custody.begin(["sh", "-c", "kill -KILL $$"], grace_ms=100, until_ns=NEVER_NS)
    ending = await custody.ended
    assert (ending.returncode, ending.exit_code) == (-9, 137)


async def test_ending_is_polite_first() -> None:
    script = "trap 'exit 3' TERM; while :; do sleep 0.01; done"
    custody = await Custody.begin(["sh", "-c", script], grace_ms=2_000, until_ns=NEVER_NS)
    ending = await custody.end()
    # The shell may not have set its trap yet; then SIGTERM itself ends it.
    assert ending.cause == "end"
    assert ending.returncode in (3, -signal.SIGTERM)


async def test_a_command_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    up = tmp_path / "up"
    custody = await Custody.begin(
        ["sh", "-c", f'exec {sys.executable} -c "{STUBBORN}" > {up}'], grace_ms=200, until_ns=NEVER_NS
    )
    await until_written(up)
    begun = time.monotonic()
    ending = await custody.end()
    assert ending == Ending(-signal.SIGKILL, "end")
    assert time.monotonic() - begun >= 0.2


async def test_what_the_command_started_ends_with_it(tmp_path: Path) -> None:
    child = tmp_path / "child"
    script = f"sleep 60 & echo $! > {child}; wait"
    custody = await Custody.begin(["sh", "-c", script], grace_ms=300, until_ns=NEVER_NS)
    pid = int(await until_written(child))
    await custody.end()
    assert not running(pid)


async def test_what_the_command_left_in_the_background_ends_before_its_end_is_reported(tmp_path: Path) -> None:
    child = tmp_path / "child"
    custody = await Custody.begin(["sh", "-c", f"sleep 60 & echo $! > {child}"], grace_ms=300, until_ns=NEVER_NS)
    assert await custody.ended == Ending(0, "itself")
    assert not running(int(child.read_text()))


async def test_a_stopped_command_ends_too() -> None:
    custody = await Custody.begin(["sleep", "60"], grace_ms=2_000, until_ns=NEVER_NS)
    os.killpg(custody.pid, signal.SIGSTOP)
    assert await custody.end() == Ending(-signal.SIGTERM, "end")


async def test_the_deadline_ends_the_command_without_being_told() -> None:
    until = boottime_ns() + 300_000_000
    custody = await Custody.begin(["sleep", "60"], grace_ms=100, until_ns=until)
    ending = await custody.ended
    assert ending == Ending(-signal.SIGTERM, "deadline")
    assert boottime_ns() >= until


async def test_the_deadline_can_be_moved() -> None:
    custody = await Custody.begin(["sh", "-c", "sleep 0.6; exit 9"], grace_ms=100, until_ns=boottime_ns() + 400_000_000)
    custody.allow_until(NEVER_NS)
    assert await custody.ended == Ending(9, "itself")


async def test_a_holder_that_dies_takes_the_command_with_it(tmp_path: Path) -> None:
    report = tmp_path / "pid"
    program = (
        "import asyncio, sys, pathlib\n"
        "from zonelock_cli.custody import Custody\n"
        "async def main():\n"
        "    c = await Custody.begin(['sleep', '60'], grace_ms=100, until_ns=1 << 62)\n"
        f"    pathlib.Path({str(report)!r}).write_text(str(c.pid))\n"
        "    await c.ended\n"
        "asyncio.run(main())\n"
    )
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    pid = int(await until_written(report))
    holder.send_signal(signal.SIGKILL)
    await holder.wait()
    await gone(pid)


async def test_a_warden_that_is_killed_does_not_leave_the_command_unwatched() -> None:
    custody = await Custody.begin(["sleep", "60"], grace_ms=100, until_ns=NEVER_NS)
    os.kill(custody._process.pid, signal.SIGKILL)
    assert (await custody.ended).cause == "warden lost"
    await gone(custody.pid)


async def test_signals_reach_the_whole_group() -> None:
    custody = await Custody.begin(["sh", "-c", "sleep 60"], grace_ms=100, until_ns=NEVER_NS)
    custody.forward(signal.SIGINT)
    ending = await custody.ended
    assert (ending.cause, ending.exit_code) == ("itself", 130)


async def test_the_command_has_our_standard_input_and_default_signals(tmp_path: Path) -> None:
    out = tmp_path / "ignored"
    custody = await Custody.begin(
        ["sh", "-c", f"grep SigIgn /proc/self/status > {out}"], grace_ms=100, until_ns=NEVER_NS
    )
    await custody.ended
    ignored = int(out.read_text().split()[1], 16)
    assert not ignored & (1 << (signal.SIGINT - 1) | 1 << (signal.SIGTERM - 1))


async def test_a_program_that_is_not_there_is_reported_with_its_errno() -> None:
    with pytest.raises(NotStarted) as caught:
        await Custody.begin(["/nowhere/at/all"], grace_ms=100, until_ns=NEVER_NS)
    assert caught.value.errno == 2


def running(pid: int) -> bool:
    """Alive and no zombie; a container without an init keeps zombies."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False

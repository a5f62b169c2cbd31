"""The exit codes of every command, in one table. `zonelock errors` and docs/cli.md print it; a test keeps them
together.

Codes below 16 are zonelock's own, those above are the shell's customs. Imports only the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    OK = 0
    FAILURE = 1
    USAGE = 2
    UNAVAILABLE = 3
    REFUSED = 4
    GRANT_LOST = 5
    INVALID = 6
    NOT_RUNNABLE = 126
    NO_COMMAND = 127
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class ExitEntry:
    """A row of the public table: what the code means and what to try."""

    meaning: str
    remedy: str


EXITS: dict[ExitCode, ExitEntry] = {
    ExitCode.OK: ExitEntry("Done.", "Nothing to do."),
    ExitCode.FAILURE: ExitEntry(
        "The command failed for a reason that has no code of its own.", "Read the message; it says what to try."
    ),
    ExitCode.USAGE: ExitEntry("The command line itself is wrong.", "Run the command with --help."),
    ExitCode.UNAVAILABLE: ExitEntry(
        "No coordinator answered, it does not lead, its store is down, or an address is taken.",
        "Check --server or $ZONELOCK_SERVER and the coordinator's log, then try again; nothing was granted.",
    ),
    ExitCode.REFUSED: ExitEntry(
        "The coordinator answered and said no, or what was named does not exist.",
        "Look the reason up with `zonelock errors REASON`.",
    ),
    ExitCode.GRANT_LOST: ExitEntry(
        "`zonelock hold`: the grant was lost and the command was ended; its zones stay occupied until cleared.",
        "Look at the floor, then `zonelock explain AGENT` and `zonelock clear`.",
    ),
    ExitCode.INVALID: ExitEntry(
        "A file (floor, map, layout, scenario, config) did not validate; nothing was written.",
        "Mend the fields that the message names and run `zonelock check` or `zonelock config check` again.",
    ),
    ExitCode.NOT_RUNNABLE: ExitEntry(
        "`zonelock hold`: the command exists but cannot be run; no zone was asked for.", "Make the file executable."
    ),
    ExitCode.NO_COMMAND: ExitEntry(
        "`zonelock hold`: there is no such command; no zone was asked for.", "Check the spelling and $PATH."
    ),
    ExitCode.INTERRUPTED: ExitEntry("Interrupted from the keyboard.", "Nothing to do."),
}

"""How this process reaches coordinators: plainly, or over TLS as `--tls-ca` and its companions say.

Rule owned: one command has one identity, set before anything is dialled; files that cannot be right are refused with
the option, the file and what would be right. Imports the coordinator's checks, and grpc, only when TLS is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zonelock_cli.exits import ExitCode
from zonelock_cli.failures import Failure

if TYPE_CHECKING:
    import grpc


@dataclass(frozen=True, slots=True)
class Identity:
    """What we trust and what we show; all None for plain connections."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @property
    def secure(self) -> bool:
        return self.ca is not None


PLAIN = Identity()
_ours = PLAIN


def dial_as(identity: Identity) -> None:
    """Sets this process's identity. Raises Failure with everything that is wrong with its files."""
    global _ours  # noqa: PLW0603  # a process runs one command, and whatever it dials it dials as the same
    _ours = PLAIN
    if identity == PLAIN:
        return
    from coordinator.tls import TlsFiles, TlsNames

    problems = TlsFiles(identity.ca, identity.cert, identity.key).problems(
        TlsNames("--tls-ca", "--tls-cert", "--tls-key")
    )
    if identity.ca is None:
        problems.append(
            "--tls-ca is not given; name the PEM file of the authority that signed the coordinator's certificate"
        )
    if problems:
        raise Failure(
            ExitCode.INVALID,
            "the certificates cannot be used",
            "Mend the files named above; the same names are $ZONELOCK_TLS_CA, _CERT and _KEY.",
            reason="INVALID_CERTIFICATE",
            problems=problems,
        )
    _ours = identity


def credentials() -> grpc.ChannelCredentials | None:
    """For the SDK and for channels; None for plain ones."""
    if not _ours.secure:
        return None
    from coordinator.tls import TlsFiles

    return TlsFiles(_ours.ca, _ours.cert, _ours.key).channel_credentials()


def objection(server: str) -> str:
    """What the two ends of a TLS connection have against each other; empty when that is not what is wrong."""
    import asyncio

    from coordinator.tls import TlsFiles, diagnose

    files = TlsFiles(_ours.ca, _ours.cert, _ours.key) if _ours.secure else None
    try:
        found = asyncio.run(diagnose(server, files))
    except (RuntimeError, ValueError, OSError):  # inside a running loop, or not an address: there is no telling
        return ""
    return found if "TLS" in found or "certificate" in found else ""

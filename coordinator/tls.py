"""Certificates, keys and authorities in PEM files: read, checked against each other, and made into credentials.

Owns the rule that a wrong file is found before anything is dialled or listened on, and named by the field that gave it,
with its value and what would be right: gRPC itself only says that it cannot connect. `diagnose` says for a connection
that does not come about what the two ends of the handshake objected to. Imports nothing of the coordinator.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

HANDSHAKE_S = 2.0

Stamp = tuple[tuple[int, int], ...]
"""Modification time and inode of some files: another one when any of them has been replaced."""

_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""What a gRPC client says first, with empty settings. A server that refuses our certificate says so only after it."""
_FRAME_HEAD = 9
_SETTINGS = b"\4\0\0\0\0\0"
"""How a frame of settings goes on after its three bytes of length: type, flags, stream (RFC 9113, section 4.1)."""

_SPEAKS_TLS = "speaks TLS, and we speak plainly: give the file of the authority that signed its certificate"
_ENDED = "it ends the connection"
_NOT_TLS = "wrong version number"
"""OpenSSL's words for an answer that is no TLS at all."""
_OF_CERTIFICATES = ("certificate", "unknown ca", "access denied", "handshake failure", "decrypt error")
"""Words of alerts by which a peer says that it does not like our certificate, or wants one (RFC 8446, section 6.2)."""


@dataclass(frozen=True, slots=True)
class TlsNames:
    """What the three files are called where they are configured, for messages."""

    ca: str
    cert: str
    key: str


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The authority that signs the peer's certificate, and our own certificate (with its chain) and key."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def problems(self, names: TlsNames, now: datetime | None = None) -> list[str]:
        """Everything that is wrong with the files; each names the field, the value and what would be right."""
        now = now or datetime.now(UTC)
        found: list[str] = []
        if self.ca is not None:
            found += _certificate_problems(names.ca, self.ca, now)[1]
        if self.cert is not None and self.key is None:
            found.append(f"{names.cert} = {str(self.cert)!r}: given without {names.key}; give the key it was made with")
        if self.key is not None and self.cert is None:
            found.append(
                f"{names.key} = {str(self.key)!r}: given without {names.cert}; give the certificate made for it"
            )
        if self.cert is None or self.key is None:
            return found
        certificates, objections = _certificate_problems(names.cert, self.cert, now)
        found += objections
        public, objection = _public_half(names.key, self.key)
        if objection:
            found.append(objection)
        elif certificates and public != _public_bytes(certificates[0]):
            found.append(
                f"{names.key} = {str(self.key)!r}: does not belong to {names.cert} = {str(self.cert)!r} (for "
                f"{certificates[0].subject.rfc4514_string()}); give the key that this certificate was made with"
            )
        return found

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """For dialling: trusts only `ca` (the system's authorities without it) and shows `cert`, if any."""
        return grpc.ssl_channel_credentials(_bytes(self.ca), _bytes(self.key), _bytes(self.cert))

    def server_credentials(self) -> grpc.ServerCredentials:
        """For listening: shows `cert`, and with `ca` serves only clients with a certificate of that authority.

        The files are read again when they change, so that a renewed certificate needs no restart.
        """
        renewal = _Renewal(self)
        return grpc.dynamic_ssl_server_credentials(
            renewal.configuration,
            renewal.renewed,  # type: ignore[arg-type]  # its stub leaves out that None means "as before"
            self.ca is not None,
        )

    def stamp(self) -> Stamp:
        """Differs when a file has been replaced. Raises OSError."""
        stats = [path.stat() for path in (self.ca, self.cert, self.key) if path is not None]
        return tuple((stat.st_mtime_ns, stat.st_ino) for stat in stats)

    def agree(self) -> bool:
        """The files can be used together now: not half renewed, not expired."""
        return not self.problems(TlsNames("ca", "cert", "key"))

    def expires_at_s(self) -> float:
        """When our own certificate ends, in seconds of Unix time; infinity without one, or while it cannot be read."""
        if self.cert is None:
            return float("inf")
        certificates, _ = _certificate_problems("cert", self.cert, datetime.now(UTC))
        return min((c.not_valid_after_utc.timestamp() for c in certificates), default=float("inf"))

    def context(self) -> ssl.SSLContext:
        """The same for the standard library's handshake."""
        context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        context.set_alpn_protocols(["h2"])
        if self.cert is not None and self.key is not None:
            context.load_cert_chain(self.cert, self.key)
        return context


class _Renewal:
    """Hands gRPC the server's certificate, and a new one when its files have changed and agree with each other."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._seen = files.stamp()
        self.configuration = self._read()

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC's threads before a handshake; None leaves everything as it is."""
        try:
            stamp = self._files.stamp()
            if stamp == self._seen or not self._files.agree():
                return None
            configuration = self._read()
        except OSError:
            return None
        self._seen, self.configuration = stamp, configuration
        return configuration

    def _read(self) -> grpc.ServerCertificateConfiguration:
        key, cert = _bytes(self._files.key), _bytes(self._files.cert)
        if key is None or cert is None:
            raise ValueError("a server that speaks TLS needs a certificate and its key")
        return grpc.ssl_server_certificate_configuration([(key, cert)], _bytes(self._files.ca))


async def diagnose(endpoint: str, files: TlsFiles | None, timeout_s: float = HANDSHAKE_S) -> str:
    """Why a TLS connection to `host:port` does not come about, in a sentence; empty when it does.

    `files` None: we would speak plainly, and the question is whether the peer expects TLS; empty when it does not. A
    peer that is slow, or that ends while we ask, is said to be just that: whoever is told "no TLS" or "your
    certificate" will change something.
    """
    try:
        context = _trusting() if files is None else files.context()
    except OSError as error:
        return f"{endpoint} was not dialled with TLS: {_unfit(files, error)}"
    try:
        async with asyncio.timeout(timeout_s):
            return await _objection(endpoint, files, context)
    except TimeoutError:
        return f"{endpoint} does not answer within {timeout_s:g} s"


async def _objection(endpoint: str, files: TlsFiles | None, context: ssl.SSLContext) -> str:
    try:
        answered = await _shake_hands(endpoint, context)
        if files is None:
            return f"{endpoint} {_SPEAKS_TLS}"
        # A peer that dies at this moment looks like one that refuses us: only who does it again does refuse us.
        answered = answered or await _shake_hands(endpoint, context)
        return "" if answered else _refusal(endpoint, _ENDED, files)
    except ssl.SSLCertVerificationError as error:
        return f"{endpoint}: {_objection_of_ours(error, files)}"
    except (ssl.SSLEOFError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError):
        # A plain server that closes with our greeting half read makes it any of these, as it happens.
        reason = _ENDED
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).replace("_", " ").lower()
    except OSError as error:
        return f"{endpoint}{_unreached(error)}"
    return await _unshaken(endpoint, files, reason)


async def _unshaken(endpoint: str, files: TlsFiles | None, reason: str) -> str:
    """About a peer that took the connection and did not shake hands."""
    if "alert" in reason:
        return f"{endpoint} {_SPEAKS_TLS}" if files is None else _refusal(endpoint, reason, files)
    if files is None:
        return ""
    if reason == _NOT_TLS or await _speaks_plainly(endpoint):
        return f"{endpoint} does not speak TLS ({reason}): use it without, or check the port"
    if reason == _ENDED:
        return f"{endpoint} ends the connection before TLS is agreed on: look whether it is up, and check the port"
    return _disagreement(endpoint, reason)


async def _speaks_plainly(endpoint: str) -> bool:
    """Whether the peer answers HTTP/2 without TLS in kind: with its settings (RFC 9113, section 3.4)."""
    try:
        reader, writer = await _connection(endpoint)
    except OSError:
        return False
    try:
        writer.write(_HTTP2_PREFACE)
        await writer.drain()
        return (await reader.readexactly(_FRAME_HEAD))[3:] == _SETTINGS
    except (OSError, EOFError):
        return False
    finally:
        writer.transport.abort()


async def _shake_hands(endpoint: str, context: ssl.SSLContext) -> bool:
    """Whether the peer says anything after the handshake. What it has against our certificate it says only then, or
    ends the connection before it could be heard.
    """
    reader, writer = await _connection(endpoint, context)
    try:
        writer.write(_HTTP2_PREFACE)
        await writer.drain()
        return bool(await reader.read(1))
    except ssl.SSLError:
        raise
    except OSError:
        return False
    finally:
        writer.transport.abort()


async def _connection(
    endpoint: str, context: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = endpoint.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)


def _unreached(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f": the host is not known ({error.strerror}); check the name"
    # A host with several addresses: asyncio puts what each of them said into one text, without a number of its own.
    numbers = [error.errno] if error.errno is not None else map(int, re.findall(r"\[Errno (\d+)\]", str(error)))
    said = sorted({os.strerror(number).lower() for number in numbers})
    return f": {', '.join(said) or str(error)}"


def _unfit(files: TlsFiles | None, error: OSError) -> str:
    """What is wrong with our own files, which may have been replaced by halves since they were checked."""
    problems = [] if files is None else files.problems(TlsNames("ca", "cert", "key"))
    return "; ".join(problems) or f"its certificate files cannot be used ({error.strerror or error})"


def _trusting() -> ssl.SSLContext:
    """Only to find out whether somebody speaks TLS; nothing is said over it."""
    # Not the default one: it reads the system's authorities, 20 ms on the loop of a coordinator.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _objection_of_ours(error: ssl.SSLCertVerificationError, files: TlsFiles | None) -> str:
    reason = error.verify_message
    ca = f"ca = {str(files.ca)!r}" if files is not None and files.ca is not None else "the system's authorities"
    if "mismatch" in reason.lower() or "not valid for" in reason.lower():
        return f"its certificate is for other names ({reason}); dial a name in it, or have this one added as a SAN"
    if "expired" in reason.lower() or "not yet valid" in reason.lower():
        return f"its certificate: {reason.lower()}; renew it there, or set the clocks"
    return f"its certificate is not signed by {ca} ({reason}); give the file of the authority that signed it"


def _refusal(endpoint: str, reason: str, files: TlsFiles) -> str:
    if reason != _ENDED and not any(word in reason for word in _OF_CERTIFICATES):
        return _disagreement(endpoint, reason)
    if files.cert is None:
        return f"{endpoint} wants a client certificate ({reason}): give a certificate and its key"
    return f"{endpoint} refuses our certificate {str(files.cert)!r} ({reason}): give one that its authority signed"


def _disagreement(endpoint: str, reason: str) -> str:
    return f"{endpoint} and we do not agree on TLS ({reason}): look at its log, compare the versions that both allow"


def _certificate_problems(field: str, path: Path, now: datetime) -> tuple[Sequence[x509.Certificate], list[str]]:
    data, objection = _read(field, path)
    if objection:
        return (), [objection]
    where = f"{field} = {str(path)!r}"
    try:
        certificates = x509.load_pem_x509_certificates(data)
    except ValueError:
        return (), [f"{where}: holds no PEM certificate; it must begin with -----BEGIN CERTIFICATE-----"]
    first = certificates[0]
    if first.not_valid_after_utc <= now:
        return certificates, [f"{where}: expired on {first.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; renew it"]
    if first.not_valid_before_utc > now:
        began = f"{first.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        return certificates, [f"{where}: is not valid before {began}; wait, or set this machine's clock"]
    return certificates, []


def _public_half(field: str, path: Path) -> tuple[bytes, str]:
    """The key's public half, or what is wrong with the file."""
    data, objection = _read(field, path)
    if objection:
        return b"", objection
    where = f"{field} = {str(path)!r}"
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:
        return b"", f"{where}: is encrypted, and nobody is there to type its password; give an unencrypted PEM key"
    except (ValueError, UnsupportedAlgorithm):
        return b"", f"{where}: holds no PEM private key; it must begin with -----BEGIN PRIVATE KEY----- or similar"
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), ""


def _public_bytes(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _read(field: str, path: Path) -> tuple[bytes, str]:
    try:
        return path.read_bytes(), ""
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return (
            b"",
            f"{field} = {str(path)!r}: cannot be read: {reason}; give the path of a PEM file that this user may read",
        )


def _bytes(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()

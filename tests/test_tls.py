"""Certificate files are judged before anything is dialled, and a handshake that fails says what to change."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import grpc
import pytest
from certificates import DAY, NOW, Authority
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from coordinator.tls import TlsFiles, TlsNames, diagnose

NAMES = TlsNames("etcd_ca", "etcd_cert", "etcd_key")
explained = partial(diagnose, timeout_s=60.0)
"""With time enough for a busy machine."""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_files_that_agree_have_no_problems(authority: Authority) -> None:
    pair = authority.issue("coordinator")
    assert TlsFiles(authority.ca, pair.cert, pair.key).problems(NAMES) == []
    assert TlsFiles(authority.ca).problems(NAMES) == []


def test_a_missing_file_is_named_with_its_field(authority: Authority, tmp_path: Path) -> None:
    gone = tmp_path / "gone.pem"
    (problem,) = TlsFiles(gone).problems(NAMES)
    assert problem.startswith(f"etcd_ca = {str(gone)!r}: cannot be read: no such file")
    assert "PEM file" in problem


def test_a_certificate_and_its_key_come_together(authority: Authority) -> None:
    pair = authority.issue("coordinator")
    assert "etcd_cert" in (lone := TlsFiles(authority.ca, pair.cert).problems(NAMES)[0]) and "without etcd_key" in lone
    assert "without etcd_cert" in TlsFiles(authority.ca, None, pair.key).problems(NAMES)[0]


def test_a_key_of_another_certificate_is_told_with_both_files(authority: Authority) -> None:
    mine, other = authority.issue("mine"), authority.issue("other")
    (problem,) = TlsFiles(authority.ca, mine.cert, other.key).problems(NAMES)
    assert f"etcd_key = {str(other.key)!r}: does not belong to etcd_cert = {str(mine.cert)!r} (for CN=mine)" in problem


def test_an_expired_certificate_says_since_when(authority: Authority) -> None:
    old = authority.issue("old", begins=NOW - 3 * DAY, ends=NOW - timedelta(minutes=1))
    (problem,) = TlsFiles(authority.ca, old.cert, old.key).problems(NAMES)
    assert "etcd_cert" in problem and "expired on 20" in problem and "renew it" in problem
    early = authority.issue("early", begins=NOW + DAY, ends=NOW + 2 * DAY)
    assert "is not valid before" in TlsFiles(authority.ca, early.cert, early.key).problems(NAMES)[0]


def test_files_that_are_no_certificate_or_key_are_told_apart(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("coordinator")
    assert "holds no PEM certificate" in TlsFiles(pair.key).problems(NAMES)[0]
    assert "holds no PEM private key" in TlsFiles(authority.ca, pair.cert, pair.cert).problems(NAMES)[0]
    locked = tmp_path / "locked.key"
    key = load_pem_private_key(pair.key.read_bytes(), None)
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    assert "is encrypted" in TlsFiles(authority.ca, pair.cert, locked).problems(NAMES)[0]


@asynccontextmanager
async def tls_server(files: TlsFiles) -> AsyncIterator[str]:
    """Somebody who speaks TLS and HTTP/2, as gRPC does."""
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", files.server_credentials())
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_a_handshake_that_fails_is_explained(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    own, theirs = authority.issue("server"), stranger.issue("client")
    good = authority.issue("client")
    async with tls_server(TlsFiles(authority.ca, own.cert, own.key)) as endpoint:
        assert await explained(endpoint, TlsFiles(authority.ca, good.cert, good.key)) == ""
        wrong_ca = await explained(endpoint, TlsFiles(stranger.ca, good.cert, good.key))
        assert f"not signed by ca = {str(stranger.ca)!r}" in wrong_ca and "give the file of the authority" in wrong_ca
        assert "wants a client certificate" in await explained(endpoint, TlsFiles(authority.ca))
        refused = await explained(endpoint, TlsFiles(authority.ca, theirs.cert, theirs.key))
        assert "refuses our certificate" in refused and str(theirs.cert) in refused
        assert "speaks TLS, and we speak plainly" in await explained(endpoint, None)


async def test_a_server_under_another_name_or_without_tls_is_explained(authority: Authority) -> None:
    elsewhere = authority.issue("elsewhere", hosts=["etcd.example"])
    async with tls_server(TlsFiles(None, elsewhere.cert, elsewhere.key)) as endpoint:
        assert "its certificate is for other names" in await explained(endpoint, TlsFiles(authority.ca))
    plain = grpc.aio.server()
    port = plain.add_insecure_port("127.0.0.1:0")
    await plain.start()
    assert "does not speak TLS" in await explained(f"127.0.0.1:{port}", TlsFiles(authority.ca))
    await plain.stop(None)
    assert "connection refused" in await explained(f"127.0.0.1:{port}", TlsFiles(authority.ca))
    assert "the host is not known" in await explained("nobody.invalid:1", TlsFiles(authority.ca))


# -- peers that end a connection, or are slow, at every moment -------------------------------------------------------

Conversation = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What a peer does with its so manieth connection, from 0."""
SETTINGS = bytes.fromhex("000000040000000000")
ALERT = "15 03 03 00 02 02 {:02x}"
GREETING = 5
"""Bytes that both TLS and HTTP/2 begin with more than."""


@asynccontextmanager
async def peer(conversation: Conversation, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    taken = 0

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        taken += 1
        try:
            await conversation(taken - 1, reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends the connection as a server does that closes with something unread."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def plain_and_resets_at_once(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if number == 0:
        reset(writer)
    else:
        writer.write(SETTINGS)
        await reader.read()


async def plain_and_resets(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if not (await reader.readexactly(GREETING)).startswith(b"PRI"):
        reset(writer)
    else:
        writer.write(SETTINGS)
        await reader.read()


async def plain_and_closes(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if (await reader.read(10_000)).startswith(b"PRI"):
        writer.write(SETTINGS)
    writer.close()
    await writer.wait_closed()


async def plain_and_answers(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(GREETING)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await reader.read()


async def resets_everybody(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(GREETING)
    reset(writer)


async def closes_on_everybody(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.parametrize(
    "conversation", [plain_and_resets_at_once, plain_and_resets, plain_and_closes, plain_and_answers]
)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_plain_peer_is_told_however_it_ends_the_handshake(
    conversation: Conversation, loop: str, authority: Authority
) -> None:
    async def asked() -> tuple[str, str]:
        async with peer(conversation) as endpoint:
            secure = await explained(endpoint, TlsFiles(authority.ca))
        async with peer(conversation) as endpoint:
            return secure, await explained(endpoint, None)

    factory = asyncio.new_event_loop if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        secure, plain = runner.run(asked())
    assert "does not speak TLS" in secure and "use it without" in secure
    assert plain == "", "we speak plainly too, so that is not why there is no answer"


@pytest.mark.parametrize("conversation", [resets_everybody, closes_on_everybody])
async def test_a_peer_that_ends_every_connection_is_not_said_to_be_without_tls(
    conversation: Conversation, authority: Authority
) -> None:
    async with peer(conversation) as endpoint:
        said = await explained(endpoint, TlsFiles(authority.ca))
        assert "ends the connection before TLS is agreed on: look whether it is up" in said
        assert await explained(endpoint, None) == ""


@pytest.mark.parametrize("after", [0, 1])
async def test_a_peer_that_is_slow_is_said_to_be_slow(after: int, authority: Authority) -> None:
    async def stalls(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if number < after:
            reset(writer)
        else:
            await reader.read()

    async with peer(stalls) as endpoint:
        said = await diagnose(endpoint, TlsFiles(authority.ca), timeout_s=0.2)
        assert said == f"{endpoint} does not answer within 0.2 s"


@pytest.mark.parametrize(("refusals", "said"), [(1, ""), (2, "wants a client certificate (it ends the connection)")])
async def test_one_end_after_the_handshake_is_an_accident_and_two_are_a_refusal(
    refusals: int, said: str, authority: Authority
) -> None:
    async def ends(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(GREETING)
        if number >= refusals:
            writer.write(SETTINGS)
            await reader.read()

    own = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.cert, own.key)
    async with peer(ends, context) as endpoint:
        found = await explained(endpoint, TlsFiles(authority.ca))
        assert said in found and bool(said) == bool(found)


@pytest.mark.parametrize(
    ("alert", "said"),
    [(116, "wants a client certificate"), (80, "and we do not agree on TLS"), (70, "and we do not agree on TLS")],
    ids=["certificate required", "internal error", "protocol version"],
)
async def test_only_an_alert_about_certificates_is_laid_to_ours(alert: int, said: str, authority: Authority) -> None:
    async def alerts(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readexactly(GREETING)).startswith(b"PRI"):
            return
        writer.write(bytes.fromhex(ALERT.format(alert)))
        await reader.read()

    async with peer(alerts) as endpoint:
        assert said in await explained(endpoint, TlsFiles(authority.ca))
        assert "speaks TLS, and we speak plainly" in await explained(endpoint, None)


async def test_a_host_with_several_addresses_that_refuse_is_down_and_not_without_tls(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def two(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.1", "127.0.0.2")]

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two)
        assert await explained(f"somewhere:{port}", TlsFiles(authority.ca)) == f"somewhere:{port}: connection refused"


async def test_files_of_ours_that_are_half_replaced_are_not_laid_to_the_peer(authority: Authority) -> None:
    mine, other = authority.issue("mine"), authority.issue("other")
    said = await explained("127.0.0.1:1", TlsFiles(authority.ca, mine.cert, other.key))
    assert "was not dialled with TLS" in said and "does not belong to" in said


async def test_a_renewed_certificate_is_shown_without_a_restart(authority: Authority) -> None:
    shown, renewed = authority.issue("shown"), authority.issue("renewed")
    async with tls_server(TlsFiles(None, shown.cert, shown.key)) as endpoint:
        assert await certificate_of(endpoint) == ssl.PEM_cert_to_DER_cert(shown.cert.read_text())
        # Half renewed: the certificate is there, its key not yet. The old pair stays.
        before = shown.cert.read_text()
        replace(shown.cert, renewed.cert)
        assert await certificate_of(endpoint) == ssl.PEM_cert_to_DER_cert(before)
        replace(shown.key, renewed.key)
        assert await certificate_of(endpoint) == ssl.PEM_cert_to_DER_cert(renewed.cert.read_text())


def replace(path: Path, by: Path) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(by.read_bytes())
    os.replace(fresh, path)


async def certificate_of(endpoint: str) -> bytes:
    """As openssl sees it, which shares no code with what is tested."""
    command = ["openssl", "s_client", "-connect", endpoint, "-alpn", "h2"]
    run = await asyncio.to_thread(subprocess.run, command, input=b"", capture_output=True, check=False, timeout=20)
    pem = run.stdout.decode(errors="replace")
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(begin + pem.split(begin)[1].split(end)[0] + end)

"""Certificate files are judged before anything is dialled, and a handshake that fails says what to change."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
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
        assert await diagnose(endpoint, TlsFiles(authority.ca, good.cert, good.key)) == ""
        wrong_ca = await diagnose(endpoint, TlsFiles(stranger.ca, good.cert, good.key))
        assert f"not signed by ca = {str(stranger.ca)!r}" in wrong_ca and "give the file of the authority" in wrong_ca
        assert "wants a client certificate" in await diagnose(endpoint, TlsFiles(authority.ca))
        refused = await diagnose(endpoint, TlsFiles(authority.ca, theirs.cert, theirs.key))
        assert "refuses our certificate" in refused and str(theirs.cert) in refused
        assert "speaks TLS, and we speak plainly" in await diagnose(endpoint, None)


async def test_a_server_under_another_name_or_without_tls_is_explained(authority: Authority) -> None:
    elsewhere = authority.issue("elsewhere", hosts=["etcd.example"])
    async with tls_server(TlsFiles(None, elsewhere.cert, elsewhere.key)) as endpoint:
        assert "its certificate is for other names" in await diagnose(endpoint, TlsFiles(authority.ca))
    plain = grpc.aio.server()
    port = plain.add_insecure_port("127.0.0.1:0")
    await plain.start()
    assert "does not speak TLS" in await diagnose(f"127.0.0.1:{port}", TlsFiles(authority.ca))
    await plain.stop(None)
    assert "connection refused" in await diagnose(f"127.0.0.1:{port}", TlsFiles(authority.ca))
    assert "the host is not known" in await diagnose("nobody.invalid:1", TlsFiles(authority.ca))


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

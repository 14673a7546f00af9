"""``sonoforge serve --host``: https for phones, how they get there, and what is refused."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import importlib.util
import io
import socket
import ssl
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from browser import running
from program import refused, sonoforge
from sonoforge.mobile import HERE, web_app
from sonoforge.mobile import jobs as network
from sonoforge.mobile.server import AUTHORITY, Server, Site
from sonoforge.mobile.verbs import serve
from sonoforge.runtime.errors import SonoforgeError, install_extra
from sonoforge.runtime.inference.classifier import Classifier

certificates = pytest.importorskip("sonoforge.mobile.certificate", reason="https is an extra: sonoforge[phone]")
pytest.importorskip("segno", reason="QR codes are an extra: pip install 'sonoforge[phone]'")

PAGE = b"<!doctype html><title>page</title>"
ANOTHER = "127.0.0.2"  # an address of this machine by which nothing else calls it
PRIVATE = 0o600
FINGERPRINT = "AB:" * 31 + "CD"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where certificates are kept."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "sonoforge"


@pytest.fixture
def ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve ends when it would begin; onnxruntime-web is not loaded."""
    content = {Path(name).name: name.encode() for name in web_app.ONNXRUNTIME_WEB.files}
    monkeypatch.setattr(web_app, "read_files", lambda *_: content)
    monkeypatch.setattr(Server, "serve_forever", lambda _: None)


@pytest.fixture
def https() -> Iterator[tuple[int, Any]]:
    """Port of a server, and its certificate."""
    site = Site({"index.html": PAGE}, Classifier(), frozenset(HERE), 2_000_000)
    server, certificate = Server(("127.0.0.1", 0), site), certificates.certificate_for("127.0.0.1")
    server.encrypt(certificate)
    with running(server) as port:
        yield port, certificate


def trusting(authority: bytes, folder: Path) -> ssl.SSLContext:
    """A client's context that trusts one authority alone, as strictly as Python can."""
    (folder / AUTHORITY).write_bytes(authority)
    context = ssl.create_default_context(cafile=str(folder / AUTHORITY))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def asked(port: int, path: str, context: ssl.SSLContext) -> tuple[int, bytes]:
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_who_trusts_the_certificate_is_answered_and_nobody_else(https: tuple[int, Any], tmp_path: Path) -> None:
    port, certificate = https
    context = trusting(certificate.authority, tmp_path)
    assert asked(port, "/", context) == (200, PAGE)
    assert asked(port, f"/{AUTHORITY}", context) == (200, certificate.authority)
    assert asked(port, f"/{certificate.file.name}", context)[0] == 404
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
        asked(port, "/", ssl.create_default_context())
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        pytest.raises(ssl.SSLCertVerificationError, match="mismatch"),
    ):
        context.wrap_socket(plain, server_hostname="example.org")


def test_the_certificate_is_kept_for_its_owner_and_made_anew_when_needed(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = certificates.certificate_for("192.168.1.20")
    assert first.file.parent == state and stat.S_IMODE(first.file.stat().st_mode) == PRIVATE
    assert certificates.certificate_for("192.168.1.20") == first
    assert certificates.certificate_for("fd00::2").fingerprint != first.fingerprint  # another address
    assert b"KEY" not in first.authority
    first.file.write_bytes(first.file.read_bytes()[100:])
    second = certificates.certificate_for("192.168.1.20")
    assert second.fingerprint != first.fingerprint and stat.S_IMODE(second.file.stat().st_mode) == PRIVATE
    monkeypatch.setattr(certificates, "_LEFT", datetime.timedelta(days=366))
    assert certificates.certificate_for("192.168.1.20").fingerprint != second.fingerprint


def told(monkeypatch: pytest.MonkeyPatch, address: str, encoding: str, is_terminal: bool) -> str:
    """What phones are told on a terminal of this encoding, or in a pipe."""
    lines: list[str] = []
    screen = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(screen, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(serve, "say", lambda form, *values: lines.append(form % values))
    serve._tell_phones(address, FINGERPRINT)
    monkeypatch.undo()
    return "\n".join(lines)


@pytest.mark.parametrize("address", ["https://192.168.1.20:8765/", f"https://[fd00:{':ffff' * 6}:1]:65535/"])
def test_the_qr_code_in_the_terminal_is_the_address(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    text = told(monkeypatch, address, "utf-8", is_terminal=True)
    assert all(len(line) <= 80 for line in text.splitlines() if address not in line)
    rows = [line for line in text.splitlines() if {"▀", "█"} & set(line)]
    halves = {"█": (255, 255), "▀": (255, 0), "▄": (0, 255), " ": (0, 0)}
    pixels = np.array([[[halves[block][half] for block in row] for row in rows for half in (0, 1)]], np.uint8)[0]
    assert pixels.shape[1] <= 80
    assert cv2.QRCodeDetector().detectAndDecode(np.kron(pixels, np.ones((8, 8), np.uint8)))[0] == address
    assert FINGERPRINT in text.replace("\n          ", "")


@pytest.mark.usefixtures("ends_at_once")
def test_another_host_is_served_over_https_and_this_machine_as_before(state: Path) -> None:
    done = sonoforge("serve", "--host", ANOTHER, "--port", 0)
    assert done.code == 0 and f"https://{ANOTHER}:" in done.said and "SHA-256" in done.said
    assert "without a password" in done.err and "UNENCRYPTED" not in done.err
    assert [file.name for file in state.iterdir()] == [f"https-{ANOTHER}.pem"]
    alone = sonoforge("serve", "--port", 0)
    assert alone.code == 0 and "http://localhost:" in alone.said and "SHA-256" not in alone.said + alone.err


@pytest.mark.usefixtures("ends_at_once")
def test_without_the_extra_it_serves_as_before_and_names_it(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "segno" else find(name))
    done = sonoforge("serve", "--host", ANOTHER, "--port", 0)
    assert done.code == 0 and f"http://{ANOTHER}:" in done.said and "UNENCRYPTED" in done.err
    assert [line for line in done.err.splitlines() if line.endswith(install_extra("phone"))]
    assert not state.exists()


@pytest.mark.usefixtures("ends_at_once")
def test_what_cannot_be_bound_is_refused_in_one_line(state: Path) -> None:
    assert "198.51.100.7:8765: cannot be bound" in refused("serve", "--host", "198.51.100.7")
    assert "cannot be bound" in refused("serve", "--host", "no-such-machine.invalid")
    with socket.create_server((ANOTHER, 0)) as taken:
        line = refused("serve", "--host", ANOTHER, "--port", taken.getsockname()[1])
    assert "in use" in line and "give another --host or --port" in line
    assert not state.exists()


def test_every_address_is_called_by_the_one_that_the_network_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert network.reachable_name("192.168.1.20") == "192.168.1.20"
    monkeypatch.setattr(network, "_ELSEWHERE", {socket.AF_INET: "127.0.0.1"})
    assert network.reachable_name("0.0.0.0") == "127.0.0.1"
    monkeypatch.setattr(network, "_ELSEWHERE", {socket.AF_INET: "no-such-machine.invalid"})
    with pytest.raises(SonoforgeError, match=r"^host: 0\.0\.0\.0"):
        network.reachable_name("0.0.0.0")

"""An app in a real browser: Debian's Chromium, driven by Playwright, on a web server of this process."""

from __future__ import annotations

import contextlib
import functools
import http.server
import importlib.util
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Root may not use Chromium's sandbox; the others keep it from asking hosts that no test may ask.
FLAGS = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
FLAGS += ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")  # a camera that shows a green pie
FLAGS += ("--disable-component-update", "--disable-sync", *(("--no-sandbox",) if os.name == "posix" else ()))

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def needs_browser() -> None:
    """Skip where there is no browser to drive, and say what is missing."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("needs playwright: pip install '.[dev]'")


ARCHIVE = Path.home() / ".cache" / "sonoforge" / "npm" / "onnxruntime-web-1.30.0.tgz"


def needs_archive() -> None:
    """Skip where onnxruntime-web neither lies nor can be had."""
    if not ARCHIVE.is_file() and shutil.which("npm") is None:
        pytest.skip("needs npm, to load onnxruntime-web")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def running(server: http.server.HTTPServer) -> Iterator[int]:
    """Let a server serve while inside; yields its port."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


class _Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map: ClassVar[dict[str, str]] = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".js": "text/javascript",
        ".wasm": "application/wasm",
        ".webmanifest": "application/manifest+json",
    }

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path, sent: list[str] | None = None) -> Iterator[str]:
    """Serve a folder; yields its address, without a slash at the end, and adds each file that is sent to ``sent``."""

    class Counting(_Handler):
        def send_response(self, code: int, message: str | None = None) -> None:
            if code == http.HTTPStatus.OK and sent is not None:
                sent.append(self.path.partition("?")[0])
            super().send_response(code, message)

    handler = functools.partial(Counting, directory=str(folder))
    with running(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as port:
        yield f"http://127.0.0.1:{port}"

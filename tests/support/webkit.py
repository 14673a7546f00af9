"""A second browser engine, WebKit, as Debian's webkit2gtk-driver has it, driven over the W3C WebDriver protocol."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dicom_peers import free_port, listens, wait_for

DRIVER, SCREEN = shutil.which("WebKitWebDriver"), shutil.which("Xvfb")
BROWSERS = sorted(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"))
# Key under which WebDriver hands out elements (W3C WebDriver, section 12).
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class WebKit:
    """One window of the browser."""

    def __init__(self, port: int) -> None:
        """Open it."""
        self._address = f"http://127.0.0.1:{port}/session"
        options = {"binary": str(BROWSERS[-1]), "args": ["--automation"]}
        wanted = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
        opened = self._call("POST", "", {"capabilities": wanted})
        self.version: str = opened["capabilities"]["browserVersion"]
        self._address += f"/{opened['sessionId']}"

    def goto(self, address: str) -> None:
        self._call("POST", "/url", {"url": address})

    def reload(self) -> None:
        self._call("POST", "/refresh", {})

    def evaluate(self, script: str) -> Any:
        """Return what ``script``, the body of an async function, returns."""
        ends = "(value) => done({ value }), (why) => done({ error: String(why) })"
        wrapped = f"const done = arguments[0]; (async () => {{ {script} }})().then({ends})"
        ended: dict[str, Any] = self._call("POST", "/execute/async", {"script": wrapped, "args": []})
        assert "error" not in ended, ended["error"]
        return ended.get("value")

    def wait_for(self, condition: str, seconds: float = 120) -> None:
        """Wait until an expression holds."""
        end = time.monotonic() + seconds
        while not self._holds(condition):
            assert time.monotonic() < end, self.evaluate("return document.body.innerText.slice(0, 2000)")
            time.sleep(0.2)

    def _holds(self, condition: str) -> bool:
        try:
            return bool(self.evaluate(f"return Boolean({condition})"))
        except AssertionError as error:
            # What the driver says of a script whose document was left while it ran.
            if "Could not parse script result" not in str(error):
                raise
            return False

    def choose(self, selector: str, files: Sequence[Path]) -> None:
        """Choose files in a file input."""
        found = self._call("POST", "/element", {"using": "css selector", "value": selector})
        names = "\n".join(str(file) for file in files)
        self._call("POST", f"/element/{found[_ELEMENT]}/value", {"text": names})

    def close(self) -> None:
        self._call("DELETE", "")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._address + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()[:500]) from error


def needs_webkit() -> None:
    """Skip where it is not installed, and say what is missing."""
    if DRIVER is None or SCREEN is None or not BROWSERS:
        pytest.skip("needs WebKit: apt-get install webkit2gtk-driver xvfb (31 MB)")


@contextlib.contextmanager
def webkit(folder: Path) -> Iterator[WebKit]:
    """Open a window on a screen of its own; its processes log into a folder."""
    assert DRIVER is not None
    assert SCREEN is not None
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((folder / "webkit.log").open("wb"))

        def started(*command: str, **more: Any) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(command, stderr=log, **more)
            stack.callback(process.wait, timeout=20)
            stack.callback(process.terminate)
            return process

        settings = ("-displayfd", "1", "-screen", "0", "1024x900x24", "-nolisten", "tcp")
        screen = started(SCREEN, *settings, stdout=subprocess.PIPE)
        assert screen.stdout is not None
        number = screen.stdout.readline().decode().strip()
        port = free_port()
        home = {"DISPLAY": f":{number}", "HOME": str(folder), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        started(DRIVER, f"--port={port}", env=home, stdout=log)
        wait_for(lambda: listens(port))
        window = WebKit(port)
        stack.callback(window.close)
        yield window

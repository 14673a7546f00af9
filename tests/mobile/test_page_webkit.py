"""The page in a second browser engine, WebKit, from ``sonoforge serve``: the same numbers, the same pixels, offline."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from page import MOST_APART, Expected, compare_csv, compare_json, write_pictures
from png_writer import write_png
from sonoforge.mobile.server import Server, Site
from sonoforge.mobile.web_app import app_files
from sonoforge.runtime.inference.classifier import Classifier
from webkit import WebKit, needs_webkit, webkit

pytestmark = pytest.mark.slow  # .ci/run runs it


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """What `sonoforge serve` serves; yields its address."""
    classifier = Classifier()
    site = Site(app_files(classifier), classifier, frozenset({"localhost"}), 1_000_000)
    server = Server(("127.0.0.1", 0), site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebKit]:
    needs_webkit()
    with webkit(tmp_path_factory.mktemp("webkit")) as opened:
        yield opened


def opened(window: WebKit, address: str) -> None:
    window.goto(address)
    window.wait_for(f"location.href.startsWith('{address}') && document.body?.dataset.state")
    assert window.evaluate("return document.body.dataset.state") == "ready"
    # What the page would save as a file is kept instead.
    window.evaluate(
        "const made = URL.createObjectURL;"
        "URL.createObjectURL = (one) => { window.kept = one; return made.call(URL, one); }"
    )


def answered(window: WebKit, files: list[Path]) -> None:
    before = window.evaluate("return document.querySelectorAll('.card').length")
    window.choose("#files", files)
    window.wait_for(f"document.querySelectorAll('.card').length === {before + len(files)}")


def saved(window: WebKit, button: str) -> str:
    text: str = window.evaluate(f"document.querySelector('{button}').click(); return window.kept.text()")
    return text


def test_the_other_engine_answers_as_python_does_and_again_offline(
    window: WebKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_pictures(tmp_path, 9) + kinds_of_png(tmp_path)
    with serving() as address:
        opened(window, address)
        check = json.loads(saved(window, "#save-check"))
        assert check["passed"]
        assert max(check["differences"].values()) < 1e-4
        answered(window, files)
        results: list[dict[str, Any]] = json.loads(saved(window, "#save-json"))["results"]
        table = saved(window, "#save-csv")
        assert window.evaluate("return navigator.serviceWorker.ready.then(() => true)")
    monkeypatch.chdir(tmp_path)
    expected = Expected(files, tmp_path / "answers.csv")
    assert compare_json(results, expected.results) <= MOST_APART
    compare_csv(table, expected.csv)
    window.reload()  # the server is gone
    window.wait_for("document.body.dataset.state === 'ready'")
    answered(window, files[:1])


def kinds_of_png(folder: Path) -> list[Path]:
    """Scans with a palette, with alpha, of 16 bits, turned by EXIF."""
    with Image.open(write_pictures(folder, 1)[0]) as first:
        scan = first.convert("RGB")
    alpha = scan.convert("RGBA")
    levels = np.linspace(0, 255, scan.width * scan.height).reshape(scan.height, -1)
    alpha.putalpha(Image.fromarray(levels.astype(np.uint8)))
    alpha.save(folder / "alpha.png")
    scan.convert("P").save(folder / "palette.png")
    wide = np.asarray(scan.convert("L"), np.uint16)[:, :, None] * 257 + 3
    (folder / "wide.png").write_bytes(write_png(wide, 0, 16))
    made = [folder / name for name in ("alpha.png", "palette.png", "wide.png")]
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        made.append(folder / f"turned-{orientation}.png")
        scan.save(made[-1], exif=exif)
    return made

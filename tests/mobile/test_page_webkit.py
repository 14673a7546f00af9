"""The page in a second browser engine, WebKit, from ``sonoforge serve``: the same numbers, the same pixels, offline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import running
from page import MOST_APART, Expected, compare_csv, compare_json, write_pictures
from sonoforge.mobile.server import Server, Site
from sonoforge.mobile.web_app import app_files
from sonoforge.runtime.inference.classifier import Classifier
from webkit import WebKit, needs_webkit, webkit

pytestmark = pytest.mark.slow  # .ci/run runs it


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
    files = write_pictures(tmp_path, 9)
    classifier = Classifier()
    site = Site(app_files(classifier), classifier, frozenset({"localhost"}), 1_000_000)
    with running(Server(("127.0.0.1", 0), site)) as port:  # as `sonoforge serve` does
        opened(window, f"http://localhost:{port}/")
        check = json.loads(saved(window, "#save-check"))
        assert check["passed"]
        assert max(check["differences"].values()) < 2e-4
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

"""The built app in a real browser: answers as Python does, without a network, and none before a passed self-test."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import bundle_factory as factory
from browser import served
from bundle_factory import edit_manifest, scan, write_bundle
from page import (
    MOST_APART,
    READY,
    Expected,
    answered,
    compare_csv,
    compare_json,
    opened,
    pictures,
    saved,
    write_pictures,
)
from program import succeed
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.inference.decision import answers_in_words, figures_in_words
from sonoforge.runtime.inference.verdict import verdict_of
from sonoforge.runtime.notice import GUESSES

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_pictures(tmp_path_factory.mktemp("files"), 16)


def test_the_page_answers_as_python_does(
    app: Path, browser: Browser, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[str] = []
    with served(app) as address, browser.new_context() as context:
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        results = answered(opened(page, address), files)
        table = saved(page, "#save-csv")
    monkeypatch.chdir(files[0].parent)
    expected = Expected(files, tmp_path / "answers.csv")
    assert len(results) >= 20
    assert compare_json(results, expected.results) <= MOST_APART
    compare_csv(table, expected.csv)
    named = " ".join(result["marks"]["summary"] for result in results)
    assert all(kind in named for kind in ("caliper", "text", "body mark"))
    assert any(result["copy_of"] for result in results)
    assert any(result["seems_copy_of"] for result in results)
    assert {url.split("/", 3)[2] for url in requests if not url.startswith(("blob:", "data:"))} == {address[7:]}


def limited_bundle(folder: Path) -> Path:
    """Write a bundle that records all limits, so narrow that each is met."""
    bundle = write_bundle(folder)

    def limits(manifest: dict[str, Any]) -> None:
        manifest["trust"]["checks"] |= {"grain": 0.02, "foreign": 1.01 * manifest["trust"]["threshold"]}
        near = manifest["trust"]["checks"]["neighbours"]
        near["threshold"] = 1.01 * near["median"]

    edit_manifest(bundle, limits)
    return bundle


def compared(
    bundle: Path, settings: tuple[str, ...], drawn: list[np.ndarray[Any, Any]], browser: Browser, folder: Path
) -> list[dict[str, Any]]:
    """Compare the page's answers for pictures with Python's, and return them with their headings."""
    files = []
    for i, picture in enumerate(drawn):
        files.append(folder / f"{i}.png")
        Image.fromarray(picture).save(files[-1])
    succeed("mobile", "build", bundle, "--out", folder / "app", *settings)
    with served(folder / "app") as address, browser.new_context() as context:
        page = opened(context.new_page(), address)
        results = answered(page, files)
        clinic = json.loads(saved(page, "#save-json"))["clinic"]
        table = saved(page, "#save-csv")
        headings = page.locator(".card h3").all_text_contents()
        advice = page.locator(".card .advice").all_text_contents()
        shown = [text.replace("\u00a0", " ") for text in page.locator(".card .questions").all_text_contents()]
        shares = [text.replace("\u00a0", " ") for text in page.locator(".card .shares").all_text_contents()]
        about = [text.replace("\u00a0", " ") for text in page.locator("#clinic li").all_text_contents()]
        noted = page.locator(".card .notes").all_text_contents()
    assert [GUESSES in text for text in noted] == [open_bundle(bundle).manifest.guesses] * len(drawn)
    expected = Expected(files, folder / "answers.csv", "--bundle", bundle, *settings)
    assert compare_json(results, expected.results) <= MOST_APART
    compare_csv(table, expected.csv)
    assert clinic == expected.clinic
    for text, small, result in zip(shown, shares, results, strict=True):
        left, *said = (" or ".join(result["set"]), *answers_in_words(result["findings"]).values())
        assert small == f"Probability of each class: {figures_in_words(result)['Probability of each class']}"
        assert text == f"Cannot be ruled out{left}Lesion{said[0]}Malignant, if it is a lesion{said[1]}"
    for sentence, question in zip(about[1:], factory.DECISION["questions"], strict=True):
        point = next(point for point in question["points"] if point["aim"] == clinic["sensitivity"])
        figures = [f"{100 * point[name]:.0f} %" for name in ("aim", "sensitivity", "specificity")]
        assert re.findall(r"\d+ %", sentence) == figures
    site = open_bundle(bundle).manifest.site
    assert ["own site" in sentence for sentence in about[1:]] == [
        bool(site) and question["name"] in site.moved for question in factory.DECISION["questions"]
    ]
    assert ("among its 12 labelled scans" in about[0]) is bool(site)
    assert headings == [verdict_of(result).heading for result in results]
    assert advice == [verdict_of(result).advice for result in results]
    return results


@pytest.mark.usefixtures("app")
def test_every_reason_for_distrust_is_named_and_abstentions_as_by_python(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On scans, turned scans, lost contact, white ones, noise, colour."""
    monkeypatch.chdir(tmp_path)
    bundle = limited_bundle(tmp_path / "bundle")
    rng, drawn = np.random.default_rng(0), [scan(i, 200, 150) for i in range(6)]
    drawn += [scan(i) for i in range(20, 32)]  # of those that the limits come from
    drawn += [picture[::-1] for picture in drawn[:3]]
    dark = scan(7, 200, 150)
    dark[:, :150] = 0
    drawn += [dark, np.full((90, 120), 255, np.uint8), np.full((90, 120), 128, np.uint8)]
    drawn += [rng.integers(0, 256, (150, 200), dtype=np.uint8), rng.integers(0, 256, (99, 80, 3), dtype=np.uint8)]
    results = compared(bundle, ("--abstain",), drawn, browser, tmp_path)
    assert 0 < [result["label"] for result in results].count("uncertain") < len(results)
    reasons = " ".join(reason for result in results for reason in result["trust"]["reasons"])
    for part in (
        "another kind of image",
        "grain",
        "no scan beyond",
        "upside down",
        "contact",
        "overexposed",
        "unlike",
    ):
        assert part in reasons, (part, reasons)


@pytest.mark.slow  # builds an app of its own
@pytest.mark.usefixtures("app")
def test_answers_are_for_the_clinic_of_the_build(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page takes prevalence and sensitivity from the build, and answers as Python does with the same."""
    bundle, drawn = write_bundle(tmp_path / "bundle"), [scan(i, 200, 150) for i in range(30)]
    edit_manifest(bundle, lambda m: m["decision"]["questions"][0]["points"][0].update(threshold=0.8))
    edit_manifest(bundle, lambda m: m["evaluation"].update(guessing={"better": False}))
    labels, sensitive = {}, {}
    for settings in ((), ("--prevalence", "normal=.9,benign=.05,malignant=.05", "--sensitivity", "0.9")):
        folder = tmp_path / str(len(settings))
        folder.mkdir()
        monkeypatch.chdir(folder)
        results = compared(bundle, settings, drawn, browser, folder)
        labels[settings] = [result["label"] for result in results]
        sensitive[settings] = sum(result["findings"]["lesion"]["positive"] for result in results)
    plain, screening = labels
    assert labels[screening].count("normal") > labels[plain].count("normal")
    assert sensitive[screening] < sensitive[plain]


@pytest.mark.slow  # builds an app of its own
@pytest.mark.usefixtures("app")
def test_a_site_bundle_answers_for_its_site_as_by_python(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = limited_bundle(tmp_path / "bundle")
    edit_manifest(bundle, lambda m: m["trust"]["checks"].update(foreign=1e6))
    site = {
        "prevalence": {"normal": 0.6, "benign": 0.3, "malignant": 0.1},
        "scans": {"normal": 7, "benign": 4, "malignant": 1},
        **{"groups": 12, "moved": ["lesion"], "golden": [], "golden_before": [], "reach": 1.05, "trust": {}},
        **{"created": "now", "manifest_sha256": "0" * 64, "original": {}, "figures": {}},
    }
    edit_manifest(bundle, lambda m: m.update(site=site))
    results = compared(bundle, (), [scan(i, 200, 150) for i in range(40, 64)], browser, tmp_path)
    said = [" ".join(result["trust"]["reasons"]) for result in results]
    assert any("; like this site's scans" in text for text in said)
    assert any("; unlike this site's scans" in text for text in said)


@pytest.mark.slow  # builds an app of its own
@pytest.mark.usefixtures("app")
def test_of_images_of_another_kind_marks_and_seeming_copies_are_not_told_as_by_python(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coarse = Image.fromarray(np.random.default_rng(0).uniform(40, 120, (12, 16)).astype(np.float32))
    marked = np.asarray(coarse.resize((400, 300), Image.Resampling.BICUBIC)).astype(np.uint8)
    marked[100, 140:155] = marked[93:108, 147] = 255  # a caliper
    drawn, told = [marked, marked, marked + np.uint8(3) * (marked < 250)], {}
    for kind in ("breast ultrasound", "other"):
        folder = tmp_path / kind.split()[0]
        bundle = write_bundle(folder / "bundle")
        monkeypatch.chdir(folder)
        edit_manifest(bundle, lambda m, kind=kind: m["trust"]["checks"].update(kind=kind, foreign=1e6))
        results = compared(bundle, (), drawn, browser, folder)
        told[kind] = [bool(results[0]["marks"]["counts"]), bool(results[2]["seems_copy_of"])]
        assert results[1]["copy_of"] == "0.png"
    assert told == {"breast ultrasound": [True, True], "other": [False, False]}


@pytest.mark.slow  # builds an app of its own
@pytest.mark.usefixtures("app")
def test_the_scan_is_cut_out_of_a_screen_as_by_python(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    drawn = [np.asarray(picture) for name, picture in pictures(18).items() if not name.startswith("scan")]
    bundle = write_bundle(tmp_path / "bundle")
    results = compared(bundle, ("--set", "model.crop=auto"), drawn, browser, tmp_path)
    assert [result["crop"]["kept"] < 0.9 for result in results].count(True) >= 2  # the screens


def test_a_first_visit_loads_each_file_once(app: Path, browser: Browser) -> None:
    """The page and the worker that keeps the app share what one of them has loaded."""
    sent: list[str] = []
    with served(app, sent) as address, browser.new_context() as context:
        page = opened(context.new_page(), address)
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    large = Counter(path for path in sent if (app / path.lstrip("/")).is_file() and size(app, path) > 100_000)
    assert large and set(large.values()) == {1}
    whole = sum(file.stat().st_size for file in app.rglob("*") if file.is_file())
    assert sum(size(app, path) for path in sent) < 1.1 * whole


def size(app: Path, path: str) -> int:
    file = app / (path.lstrip("/") or "index.html")
    return file.stat().st_size if file.is_file() else 0


def test_without_a_network_the_page_loads_again_and_answers(app: Path, browser: Browser, files: list[Path]) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        with served(app) as address:
            opened(page, address)
            page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        # The server is gone now, and the network too.
        context.set_offline(True)
        page.reload()
        page.wait_for_selector(READY, timeout=300_000)
        assert [result["ok"] for result in answered(page, files[:2])] == [True, True]


def test_a_browser_that_blocks_cookies_and_storage_answers_too(app: Path, browser: Browser, files: list[Path]) -> None:
    refuse = "Object.defineProperty(window, {}, {{get() {{ throw new DOMException('denied', 'SecurityError'); }}}});"
    with served(app) as address, browser.new_context() as context:
        context.add_init_script("".join(refuse.format(f"'{name}'") for name in ("localStorage", "caches", "indexedDB")))
        context.add_init_script("ServiceWorkerContainer.prototype.register = () => Promise.reject(new TypeError());")
        page = opened(context.new_page(), address)
        page.select_option("#language", "hi")
        page.wait_for_selector("html[lang=hi]")
        page.select_option("#language", "en")
        assert [result["ok"] for result in answered(page, files[:2])] == [True, True]


def other_answers(bundle: Path) -> None:
    """Change golden answers, and the manifest's hashes with them: the self-test alone can notice."""
    settings = json.loads((bundle.parent / "app.json").read_text())
    about = settings["arrays"]
    data = bytearray(zlib.decompress((bundle / "arrays.bin").read_bytes()))
    kind, shape, place = about["golden"]["logits"]
    logits = np.frombuffer(data, kind, math.prod(shape), place) + np.float32(0.01)
    data[place : place + logits.nbytes] = logits.tobytes()
    packed = zlib.compress(data)
    about |= {"bytes": len(packed), "sha256": hashlib.sha256(packed).hexdigest()}
    (bundle / "arrays.bin").write_bytes(packed)
    (bundle.parent / "app.json").write_text(json.dumps(settings))


def other_bytes(bundle: Path) -> None:
    data = bytearray((bundle / "arrays.bin").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "arrays.bin").write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(other_answers, "failed the self-test", marks=pytest.mark.slow),
        (other_bytes, "arrays.bin: is not the file"),
    ],
)
def test_a_changed_bundle_or_a_device_that_computes_otherwise_gives_no_answer(
    app: Path, browser: Browser, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    shutil.copytree(app, tmp_path / "app")
    spoil(tmp_path / "app" / "bundle")
    with served(tmp_path / "app") as address, browser.new_context(service_workers="block") as context:
        page = context.new_page()
        page.goto(address + "/")
        page.wait_for_selector('body[data-state="blocked"]', timeout=300_000)
        assert said in (page.text_content("#blocked") or "")
        assert page.is_disabled("#files")

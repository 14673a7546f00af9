"""The built app in a real browser: answers as Python does, without a network, and none before a passed self-test."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from browser import chromium, needs_archive, needs_browser, served
from bundle_factory import edit_manifest, scan, write_bundle
from places import SHARED
from program import succeed
from sonoforge.runtime.inference.classifier import Classifier

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

READY = 'body[data-state="ready"]'


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs_browser()
    needs_archive()
    folder = tmp_path_factory.mktemp("page") / "app"
    succeed("mobile", "build", "--out", folder)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    needs_browser()
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Scans of BUSI where they are, else pictures of noise; and pictures that are no scans."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    scans = sorted(path for path in (SHARED / "data" / "BUSI").rglob("*.png") if "_mask" not in path.name)
    chosen = [shutil.copy(path, folder / f"scan-{i}.png") for i, path in enumerate(scans[::20])]
    for i in range(11 if chosen else 50):
        size = rng.integers(60, 700, 2)
        level = np.linspace(255, 0, size[0])[:, None, None] * rng.uniform(0.2, 1, (*size, 3))
        Image.fromarray(level.astype(np.uint8)).save(folder / f"made-{i}.png")
        chosen.append(folder / f"made-{i}.png")
    return [Path(path) for path in chosen]


def answered(page: Page, files: list[Path]) -> list[dict[str, Any]]:
    """Give the page files, and read its answers from the JSON that it saves, in the order of the files."""
    page.set_input_files("#files", [str(file) for file in files])
    page.wait_for_selector(f".card:nth-child({len(files)})", timeout=120_000)
    with page.expect_download() as saved:
        page.click("#save-json")
    results: list[dict[str, Any]] = json.loads(Path(saved.value.path()).read_text())["results"]
    return results


def opened(page: Page, address: str) -> Page:
    page.goto(address + "/")
    page.wait_for_selector(READY, timeout=60_000)
    return page


def compared(classifier: Classifier, files: list[Path], results: list[dict[str, Any]]) -> list[float]:
    """The largest difference of a probability of each file, all else being equal."""
    differences = []
    for file, found in zip(files, results, strict=True):
        expected = classifier.classify(file).to_dict()
        assert found["file"] == file.name
        for key in ("label", "set", "model"):
            assert found[key] == expected[key], (file.name, key)
        for key in ("in_distribution", "causes", "reasons"):
            assert found["trust"][key] == expected["trust"][key], (file.name, key)
        assert found["trust"]["score"] == pytest.approx(expected["trust"]["score"], rel=1e-3, abs=1e-6), file.name
        assert found["quality"].pop("flags") == expected["quality"].pop("flags")
        # 32-bit sums in numpy, 64-bit ones in JavaScript
        assert found["quality"] == pytest.approx(expected["quality"], rel=1e-3)
        assert found["map"]["peak"]["x"] == expected["map"]["peak"]["x"]
        assert found["map"]["peak"]["y"] == expected["map"]["peak"]["y"]
        differences.append(max(abs(found["probabilities"][k] - p) for k, p in expected["probabilities"].items()))
    return differences


def test_the_page_answers_as_python_does(app: Path, browser: Browser, files: list[Path]) -> None:
    requests: list[str] = []
    with served(app) as address, browser.new_context() as context:
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        results = answered(opened(page, address), files)
        with page.expect_download() as saved:
            page.click("#save-csv")
        rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text())))
    differences = compared(Classifier(), files, results)
    assert [(row["file"], row["label"]) for row in rows] == [(found["file"], found["label"]) for found in results]
    assert len(differences) >= 50
    assert max(differences) <= 1e-4
    assert {url.split("/", 3)[2] for url in requests if not url.startswith(("blob:", "data:"))} == {address[7:]}


def test_every_reason_for_distrust_is_named_as_python_names_it(app: Path, browser: Browser, tmp_path: Path) -> None:
    """With a bundle that records all limits, on scans, turned scans, lost contact, white ones, noise, colour."""
    bundle = write_bundle(tmp_path / "bundle", checked=True)

    def limits(manifest: dict[str, Any]) -> None:
        manifest["trust"]["checks"] |= {"grain": 0.02, "foreign": 1.01 * manifest["trust"]["threshold"]}
        near = manifest["trust"]["checks"]["neighbours"]
        near["threshold"] = 1.01 * near["median"]

    edit_manifest(bundle, limits)
    rng, pictures = np.random.default_rng(0), [scan(i, 200, 150) for i in range(6)]
    pictures += [picture[::-1] for picture in pictures[:3]]
    dark = scan(7, 200, 150)
    dark[:, :150] = 0
    pictures += [dark, np.full((90, 120), 255, np.uint8), np.full((90, 120), 128, np.uint8)]
    pictures += [rng.integers(0, 256, (150, 200), dtype=np.uint8), rng.integers(0, 256, (99, 80, 3), dtype=np.uint8)]
    files = []
    for i, picture in enumerate(pictures):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(picture).save(files[-1])
    succeed("mobile", "build", bundle, "--out", tmp_path / "app")
    with served(tmp_path / "app") as address, browser.new_context() as context:
        results = answered(opened(context.new_page(), address), files)
    assert max(compared(Classifier(bundle), files, results)) <= 1e-4
    reasons = " ".join(reason for result in results for reason in result["trust"]["reasons"])
    for part in (
        "not an ultrasound scan",
        "grain",
        "no scan beyond",
        "upside down",
        "contact",
        "overexposed",
        "unlike",
    ):
        assert part in reasons, (part, reasons)


def test_without_a_network_the_page_loads_again_and_answers(app: Path, browser: Browser, files: list[Path]) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        with served(app) as address:
            opened(page, address)
            page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        # The server is gone now, and the network too.
        context.set_offline(True)
        page.reload()
        page.wait_for_selector(READY, timeout=60_000)
        assert [result["ok"] for result in answered(page, files[:2])] == [True, True]


def test_a_device_that_computes_otherwise_gives_no_answer(
    app: Path, browser: Browser, files: list[Path], tmp_path: Path
) -> None:
    """Golden answers that the network does not give, with hashes that fit: the self-test alone can notice."""
    import hashlib

    broken = tmp_path / "app"
    shutil.copytree(app, broken)
    golden = dict(np.load(broken / "bundle" / "golden.npz"))
    golden["logits"] = golden["logits"] + np.float32(0.01)
    np.savez(broken / "bundle" / "golden.npz", **golden)
    manifest = json.loads((broken / "bundle" / "manifest.json").read_text())
    data = (broken / "bundle" / "golden.npz").read_bytes()
    manifest["files"]["golden.npz"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (broken / "bundle" / "manifest.json").write_text(json.dumps(manifest))
    with served(broken) as address, browser.new_context(service_workers="block") as context:
        page = context.new_page()
        page.goto(address + "/")
        page.wait_for_selector('body[data-state="blocked"]', timeout=60_000)
        assert "failed the self-test" in (page.text_content("#blocked") or "")
        assert page.is_disabled("#files")


def test_a_changed_file_of_the_bundle_is_refused(app: Path, browser: Browser, tmp_path: Path) -> None:
    broken = tmp_path / "app"
    shutil.copytree(app, broken)
    data = bytearray((broken / "bundle" / "reference.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (broken / "bundle" / "reference.npz").write_bytes(data)
    with served(broken) as address, browser.new_context(service_workers="block") as context:
        page = context.new_page()
        page.goto(address + "/")
        page.wait_for_selector('body[data-state="blocked"]', timeout=60_000)
        assert "reference.npz: is not the file" in (page.text_content("#blocked") or "")


def test_bad_files_are_named_and_the_others_answered(
    app: Path, browser: Browser, files: list[Path], tmp_path: Path
) -> None:
    whole = files[0].read_bytes()
    bad = {
        "cut.png": (whole[:5000], "truncated"),
        "text.png": (b"no picture", "not_an_image"),
        "nothing.png": (b"", "empty"),
        "cut.jpg": (b"\xff\xd8\xff\xe0\x00\x10JFIF", "truncated"),
        "study.dcm": (bytes(128) + b"DICM" + bytes(40), "not_an_image"),
    }
    for name, (data, _) in bad.items():
        (tmp_path / name).write_bytes(data)
    with served(app) as address, browser.new_context() as context:
        results = answered(opened(context.new_page(), address), [*(tmp_path / name for name in bad), files[0]])
    assert {r["file"]: r["error"]["code"] for r in results if not r["ok"]} == {k: code for k, (_, code) in bad.items()}
    assert results[-1]["ok"]


def test_pictures_turned_by_exif_and_saved_as_jpeg_answer_nearly_alike(
    app: Path, browser: Browser, files: list[Path], tmp_path: Path
) -> None:
    turned = []
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        with Image.open(files[0]) as scan:
            scan.convert("RGB").save(tmp_path / f"{orientation}.jpg", quality=90, exif=exif)
        turned.append(tmp_path / f"{orientation}.jpg")
    with served(app) as address, browser.new_context() as context:
        results = answered(opened(context.new_page(), address), turned)
    classifier = Classifier()
    for file, found in zip(turned, results, strict=True):
        expected = classifier.classify(file).probabilities
        assert found["probabilities"] == pytest.approx(expected, abs=1e-2), file.name

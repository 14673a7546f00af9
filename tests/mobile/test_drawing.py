"""The page that draws synthetic images: Python's latents, pixels and KID, each picture marked, the self-test first."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import bundle_factory as factory
from axe import WIDTHS, faults
from browser import needs_archive, served
from generator_factory import CLASSES, write_generator
from page_scripts import run_script
from program import refused, sonoforge, succeed
from sonoforge.mobile import npm_package, web_app
from sonoforge.runtime.distances.fid_kid import kernel_distance
from sonoforge.runtime.images.synthetic import NOTICE, as_picture, to_pixels
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.generator import Generator
from sonoforge.runtime.inference.latents import draw_latent

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factory.write_bundle(tmp_path_factory.mktemp("classifier") / "bundle")


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory, classifier: Path) -> Path:
    """A class-conditional one, with made-up training images in the classifier's features."""
    network = Classifier(classifier)
    scans = [as_picture(factory.scan(i)[..., None]) for i in range(24)]
    pixels = np.stack([network.bundle.manifest.preprocessing.resize(scan) for scan in scans])
    arrays = {
        "embeddings": network.predict(pixels)["embedding"].astype(np.float16),
        "labels": np.arange(24, dtype=np.int64) % 2,
    }
    about = {"model": network.model, "dimension": factory.FEATURES, "images": dict.fromkeys(CLASSES, 12)}
    return write_generator(tmp_path_factory.mktemp("generator") / "bundle", about, arrays)


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory, classifier: Path, generator: Path) -> Path:
    needs_archive()
    folder = tmp_path_factory.mktemp("drawing") / "app"
    succeed("mobile", "build", classifier, "--generator", generator, "--out", folder)
    return folder


def opened(page: Page, address: str) -> Page:
    page.goto(address + "/draw.html")
    page.wait_for_selector('body[data-state="ready"], body[data-state="blocked"]', timeout=300_000)
    return page


def drawn(page: Page, count: int, seed: int) -> zipfile.ZipFile:
    """Let the page draw, and read the archive that it saves."""
    page.fill("#seed", str(seed))
    page.select_option("#count", str(count))
    page.click("#go")
    page.wait_for_selector(f"#drawn li:nth-child({count})", timeout=300_000)
    page.wait_for_selector("#go:enabled")
    return saved(page)


def saved(page: Page) -> zipfile.ZipFile:
    with page.expect_download() as download:
        page.click("#save-all")
    return zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))


def pictures(archive: zipfile.ZipFile) -> list[NDArray[np.uint8]]:
    """The drawn pictures (S, S, C) without their marks, by the box that each file names."""
    found = []
    for name in sorted(name for name in archive.namelist() if name.endswith(".png")):
        with Image.open(io.BytesIO(archive.read(name))) as picture:
            box = tuple(map(int, picture.info["sonoforge:picture_box"].split(",")))
            pixels = np.asarray(picture.crop(box))  # type: ignore[arg-type]
        found.append(pixels if pixels.ndim == 3 else pixels[..., None])
    return found


def apart(found: list[NDArray[np.uint8]], expected: NDArray[np.uint8]) -> tuple[int, float]:
    """The largest difference in grey levels, and the share of pixels that differ."""
    differences = np.abs(np.stack(found).astype(int) - expected)
    return int(differences.max()), float((differences > 0).mean())


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_latents_distances_and_rounding_are_those_of_python(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wishes: list[dict[str, Any]] = [
        {"seed": str(seed), "index": index, "size": size, "distribution": distribution}
        for seed, index, size in ((0, 0, 100), (3, 17, 7), (2**53 + 1, 2, 512), (12345, 99, 20_000))
        for distribution in ("normal", "uniform")
    ]
    sets = [
        [rng.normal(mean, 1, (count, size)).astype(np.float32) for mean, count in ((0.2, n), (0, m))]
        for n, m, size in ((3, 4, 5), (20, 30, 64), (9, 3, 1280))
    ]
    halves = np.float32((np.arange(256) - 0.5) / 127.5 - 1)
    levels = np.concatenate([rng.uniform(-1.2, 1.2, 5000).astype(np.float32), halves])
    questions = {
        "latents": wishes,
        "sets": [{"drawn": x.tolist(), "real": y.tolist()} for x, y in sets],
        "levels": levels.tolist(),
    }
    answers = run_script("draw_numbers.mjs", questions, tmp_path)
    for wish, found in zip(wishes, answers["latents"], strict=True):
        expected = draw_latent(int(wish["seed"]), wish["index"], wish["size"], wish["distribution"])
        steps = np.abs(np.float32(found).view(np.int32).astype(np.int64) - expected.view(np.int32))
        assert steps.max() <= (0 if wish["distribution"] == "uniform" else 1), wish  # units in the last place
    for (x, y), found in zip(sets, answers["distances"], strict=True):
        kid = kernel_distance(x, y)
        assert found["value"] == pytest.approx(kid.value, rel=1e-9, abs=1e-12)
        assert found["standardError"] == pytest.approx(kid.standard_error, rel=1e-9)
    assert answers["pixels"] == to_pixels(levels[None, None, None, :]).reshape(-1).tolist()


@pytest.mark.slow
def test_pictures_and_their_distance_are_those_of_python(
    drawing: Path, browser: Browser, generator: Path, classifier: Path
) -> None:
    with served(drawing) as address, browser.new_context() as context:
        page = opened(context.new_page(), address)
        assert page.get_attribute("body", "data-state") == "ready"
        page.select_option("#class", "b")
        archive = drawn(page, 16, 3)
        page.click("#measure")
        page.wait_for_selector("#kid .value", timeout=300_000)
        said = page.text_content("#kid") or ""
        distance = json.loads(saved(page).read("manifest.json"))["kid"]
    expected = Generator(generator).generate(16, 3, "b")
    found = pictures(archive)
    largest, share = apart(found, expected)
    assert largest <= 1
    assert share < 2e-3
    network, reference = Classifier(classifier), np.load(generator / "reference.npz")
    resized = np.stack([network.bundle.manifest.preprocessing.resize(as_picture(image)) for image in found])
    real = reference["embeddings"][reference["labels"] == CLASSES.index("b")]
    kid = kernel_distance(network.predict(resized)["embedding"], real)
    assert distance["value"] == pytest.approx(kid.value, rel=1e-4, abs=1e-7)
    assert distance["standardError"] == pytest.approx(kid.standard_error, rel=1e-3, abs=1e-7)
    assert (distance["drawn"], distance["real"]) == (16, len(real)) == (16, 12)
    for part in (f"KID {kid.value:.3g}"[:9], "16 drawn ones (b), seed 3", "all 12 training images", "patches 0.0.1"):
        assert part in said, (part, said)


def test_each_saved_picture_says_that_it_is_synthetic(
    drawing: Path, browser: Browser, generator: Path, tmp_path: Path
) -> None:
    sonoforge("gan", "sample", "--bundle", generator, "--count", 1, "--class", "a", "--out", tmp_path / "ours")
    ours = json.loads((tmp_path / "ours" / "manifest.json").read_text())
    with Image.open(next((tmp_path / "ours").glob("*.png"))) as picture:
        texts = dict(picture.info)
    with served(drawing) as address, browser.new_context() as context:
        page = opened(context.new_page(), address)
        archive = drawn(page, 8, 0)
        with page.expect_download() as one:
            page.click("#drawn li:first-child button")
        assert one.value.suggested_filename == "synthetic-a-0-00000.png"
        assert Path(one.value.path()).read_bytes() == archive.read("synthetic-a-0-00000.png")
    assert archive.testzip() is None
    theirs = json.loads(archive.read("manifest.json"))
    assert set(theirs) == set(ours) | {"kid"}
    assert {key: theirs[key] for key in ours if key not in ("count", "images")} == {
        key: value for key, value in ours.items() if key not in ("count", "images")
    }
    with Image.open(io.BytesIO(archive.read("synthetic-a-0-00000.png"))) as picture:
        written = dict(picture.info)
        shown = np.asarray(picture)
    box = written.pop("sonoforge:picture_box")
    assert box == "0,0,32,32"
    assert written.pop("Software") == "sonoforge web app"
    assert written == {key: value for key, value in texts.items() if key != "Software"}
    assert written["Description"] == NOTICE
    band = shown[32:]
    assert set(np.unique(band)) == {0, 255}  # black letters on white
    assert 0.1 < (band == 0).mean() < 0.5


@pytest.mark.slow
def test_styles_take_psi_and_no_distance_is_given_without_a_reference(
    browser: Browser, classifier: Path, tmp_path: Path
) -> None:
    from generator_checkpoints import small_checkpoint
    from sonoforge.export.bundle.generator import bundle_from_checkpoint

    needs_archive()
    bundle_from_checkpoint(small_checkpoint(tmp_path / "run", "stylegan2", 2, channels=3), tmp_path / "bundle")
    built = sonoforge("mobile", "build", classifier, "--generator", tmp_path / "bundle", "--out", tmp_path / "app")
    assert "no KID: the bundle records no training images" in built.said
    with served(tmp_path / "app") as address, browser.new_context() as context:
        page = opened(context.new_page(), address)
        page.fill("#psi", "0.3")
        page.select_option("#class", "b")
        found = pictures(drawn(page, 8, 5))
        page.click("#measure")
        page.wait_for_selector("#kid.no", timeout=300_000)
        assert "records no features of its training images" in (page.text_content("#kid") or "")
    assert apart(found, Generator(tmp_path / "bundle").generate(8, 5, "b", psi=0.3))[0] <= 1


@pytest.mark.slow
def test_another_network_is_never_taken_for_the_distance(drawing: Path, browser: Browser, tmp_path: Path) -> None:
    other = tmp_path / "app"
    shutil.copytree(drawing, other)
    manifest = json.loads((other / "generator" / "manifest.json").read_text())
    manifest["reference"]["model"]["sha256"] = "0" * 64
    (other / "generator" / "manifest.json").write_text(json.dumps(manifest))
    with served(other) as address, browser.new_context(service_workers="block") as context:
        page = opened(context.new_page(), address)
        drawn(page, 8, 0)
        page.click("#measure")
        page.wait_for_selector("#kid.no", timeout=300_000)
        assert "Not measured" in (page.text_content("#kid") or "")


def test_a_device_that_draws_otherwise_draws_nothing(drawing: Path, browser: Browser, tmp_path: Path) -> None:
    broken = tmp_path / "app"
    shutil.copytree(drawing, broken)
    folder = broken / "generator"
    golden = dict(np.load(folder / "golden.npz"))
    golden["images"] = golden["images"] + np.float32(0.002)
    np.savez(folder / "golden.npz", **golden)
    data = (folder / "golden.npz").read_bytes()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["golden.npz"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with served(broken) as address, browser.new_context(service_workers="block") as context:
        page = opened(context.new_page(), address)
        assert page.get_attribute("body", "data-state") == "blocked"
        assert "it draws nothing" in (page.text_content("#blocked") or "")
        assert page.is_disabled("#go")


def test_the_page_draws_without_a_network(drawing: Path, browser: Browser) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        with served(drawing) as address:
            page.goto(address + "/")
            page.wait_for_selector("#draw-link:not([hidden])", timeout=300_000)
            page.evaluate("navigator.serviceWorker.ready.then(() => true)")
            page.reload()
        context.set_offline(True)
        page.click("#draw-link a")
        page.wait_for_selector('body[data-state="ready"]', timeout=300_000)
        assert len(pictures(drawn(page, 8, 1))) == 8
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert faults(page) == []


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime-web, without reading its archive."""
    content = {Path(name).name: name.encode() for name in npm_package.ONNXRUNTIME_WEB.files}
    monkeypatch.setattr(web_app, "read_files", lambda *_: content)


@pytest.mark.usefixtures("stand_in")
def test_an_app_without_a_generator_has_no_such_page(classifier: Path, tmp_path: Path) -> None:
    succeed("mobile", "build", classifier, "--out", tmp_path / "app")
    assert not [file.name for file in (tmp_path / "app").rglob("draw*")]
    line = refused("mobile", "build", classifier, "--generator", classifier, "--out", tmp_path / "other")
    assert "not a generator's" in line


@pytest.mark.usefixtures("stand_in")
def test_the_build_says_which_distance_it_can_measure(classifier: Path, generator: Path, tmp_path: Path) -> None:
    def said(bundle: Path, drawing: Path) -> str:
        return sonoforge("mobile", "build", bundle, "--generator", drawing, "--out", tmp_path / "app").said

    assert "KID against 24 training images" in said(classifier, generator)
    other = factory.write_bundle(tmp_path / "other", seed=1)
    assert "no KID: its training images are recorded as features of patches 0.0.1" in said(other, generator)
    bare = tmp_path / "bare"
    shutil.copytree(generator, bare)
    (bare / "reference.npz").unlink()
    factory.edit_manifest(
        bare, lambda manifest: (manifest.update(reference=None), manifest["files"].pop("reference.npz"))
    )
    assert "no KID: the bundle records no training images" in said(classifier, bare)

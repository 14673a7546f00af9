"""Which images exported files are judged on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sonoforge.export.bundle import gate
from sonoforge.export.bundle.gate import GAIN, SHIFT, GateImages, JudgedModel, vary
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.statistics.predictions import Predictions, write_predictions

CLASSES = ("normal", "benign", "malignant")
CELLS = ("large", "small")
PHANTOMS, FEWEST = 36, 30


def find_images(
    data: str, run: Path | None, settings: dict[str, object], classes: tuple[str, ...] = CLASSES, arm: str = "real"
) -> GateImages:
    return gate.find_images(data, run, settings, JudgedModel(classes, {"arm": arm}, None))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", autouse=True)
def _few_images() -> Iterator[None]:
    """Fewer images than a user's files are judged on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "PHANTOMS", PHANTOMS)
        patch.setattr(gate, "FEWEST", FEWEST)
        yield


@pytest.fixture(scope="module")
def scans(cache: Path) -> Path:
    """A folder of 33 simulated scans."""
    return load_images(ImageSource(("phantom",), 33, 3, cache)).dataset.root


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 12 coloured discs, large and small, of different sizes in pixels."""
    folder = tmp_path_factory.mktemp("data") / "cells"
    chance = np.random.default_rng(0)
    for index in range(12):
        side, kind = 90 + index, CELLS[index % 2]
        rows, columns = np.mgrid[:side, :side] / side - 0.5
        disc = np.hypot(rows - chance.uniform(-0.1, 0.1), columns) < (0.4 if kind == "large" else 0.15)
        pixels = np.where(disc[..., None], (120, 60, 140), (230, 215, 225)) + chance.normal(0, 6, (side, side, 3))
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / kind / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def kept(cache: Path, cells: Path) -> np.ndarray:
    """These as a model keeps them."""
    return np.asarray(load_images(ImageSource((str(cells),), 0, 0, cache)).images)


def write_sealed(folder: Path, names: list[str], table: np.ndarray, classes: tuple[str, ...]) -> None:
    """Write the sealed answers of a run on these images, and others of another arm."""
    truth, numbers = np.array([classes.index(name.split("/")[0]) for name in names]), np.arange(len(names))
    about = ("sealed", 0, tuple(names), numbers, numbers % 2, truth)
    parts = [Predictions(arm, *about, values) for arm, values in (("gan", table[::-1].copy()), ("real", table))]
    write_predictions(folder / "predictions.csv", parts, classes)


def settings(cache: Path, **values: object) -> dict[str, object]:
    return {"cache.folder": str(cache), **values}


def test_a_run_is_judged_on_its_own_images_with_their_classes(cache: Path, scans: Path) -> None:
    images = find_images("", None, settings(cache, data=str(scans)))
    assert len(images.pixels) == len(images.originals) == images.distinct == 33
    assert images.labels is not None and images.sealed is None
    assert [CLASSES[label] for label in images.labels] == [name.split("/")[0] for name in images.names]
    assert images.names[0] == "normal/normal (1).png"
    assert (images.pixels[7] == IMAGENET.resize(Image.fromarray(images.originals[7]()))).all()
    assert find_images("", None, settings(cache, data=str(scans)), ("a", "b", "c")).labels is None


def test_sealed_answers_are_found_by_file_whatever_their_order(cache: Path, scans: Path, tmp_path: Path) -> None:
    names = [f"{file.parent.name}/{file.name}" for file in sorted(scans.rglob("*.png"))]
    table = np.random.default_rng(0).dirichlet(np.ones(3), len(names))
    write_sealed(tmp_path, names, table, CLASSES)
    of_run = settings(cache, data=str(scans))
    images, expected = find_images("", tmp_path, of_run), dict(zip(names, table, strict=True))
    assert images.sealed is not None
    for name, row in zip(images.names, images.sealed, strict=True):
        assert np.allclose(row, expected[name])
    assert find_images("", tmp_path, of_run, CLASSES, "weighted").sealed is None
    (tmp_path / "predictions.csv").write_text("\n".join((tmp_path / "predictions.csv").read_text().splitlines()[:20]))
    assert find_images("", tmp_path, of_run, CLASSES, "gan").sealed is None  # rows are missing


def test_few_images_are_judged_in_mild_variants_of_themselves(cache: Path, cells: Path, tmp_path: Path) -> None:
    stored = load_images(ImageSource((str(cells),), 0, 0, cache))
    table = np.random.default_rng(0).dirichlet(np.ones(2), 12)
    write_sealed(tmp_path, [item.path for item in stored.dataset.items], table, CELLS)
    images, again = (find_images("", tmp_path, settings(cache, data=str(cells)), CELLS) for _ in range(2))
    assert images.source == "12 images of cells, 36 variants" and images.distinct == 12
    assert len(images.pixels) == len(images.originals) == len(images.names) == 36 and len(set(images.names)) == 12
    assert images.labels is not None and images.sealed is not None
    assert [CELLS[label] for label in images.labels] == [name.split("/")[0] for name in images.names]
    np.testing.assert_allclose(images.sealed, np.repeat(table, 3, axis=0), atol=1e-6)
    assert (images.pixels[::3] == stored.images).all()  # the first variant is the image itself
    for index in (1, 2, 19, 35):
        assert (images.pixels[index] == IMAGENET.resize(Image.fromarray(images.originals[index]()))).all()
        assert (images.pixels[index] != stored.images[index // 3]).mean() > 0.5
    assert (again.pixels == images.pixels).all()


def test_a_variant_is_mirrored_or_not_moved_and_brightened_mildly() -> None:
    rows, columns = np.mgrid[:100, :50]
    pixels = np.stack([rows, 2 * columns, np.full_like(rows, 200)], 2).astype(np.uint8)
    assert (vary(lambda: pixels, 0) == pixels).all()
    seen = set()
    for change in range(1, 30):
        moved = vary(lambda: pixels, change).astype(float)
        gain = moved[0, 0, 2] / 200
        centre = pixels[:, ::-1][50, 25] if change % 2 else pixels[50, 25]
        shifts = np.abs(moved[50, 25, :2] / gain - centre[:2]) / (100, 2 * 50)
        assert (shifts <= SHIFT + 0.011).all() and abs(gain - 1) <= GAIN + 1e-9  # half a level of rounding
        seen.add(moved.tobytes())
    assert len(seen) == 29
    assert vary(lambda: pixels[..., 0], 1).shape == (100, 50)


@pytest.mark.parametrize("own", ["gone", ""])
def test_where_the_data_are_gone_the_images_kept_with_the_model_serve(cache: Path, kept: np.ndarray, own: str) -> None:
    images = gate.find_images("", None, settings(cache, data=own), JudgedModel(CELLS, {"data": "cells"}, kept))
    assert images.source == "12 training images of cells, kept with the model, 36 variants"
    assert (images.pixels[::3] == kept).all() and images.labels is None


def test_another_set_in_the_place_of_the_run_s_is_not_used(cache: Path, kept: np.ndarray, scans: Path) -> None:
    model = JudgedModel(CELLS, {"images": ["0" * 16]}, kept)
    assert gate.find_images("", None, settings(cache, data=str(scans)), model).source.startswith("12 training images")


def test_a_bundle_alone_asks_for_images_unless_simulated_scans_are_of_its_kind(cache: Path) -> None:
    busi = open_bundle(None).manifest.raw["training"]
    for training in (busi, {"data": "phantom-60-0-0123abcd"}, {"data": "renamed", "images": busi["images"][:300]}):
        images = gate.find_images("", None, settings(cache), JudgedModel(CLASSES, training, None))
        assert images.source == f"{PHANTOMS} simulated breast scans (phantom)"
        assert len(images.pixels) == PHANTOMS >= FEWEST
    for training in ({"data": "cells", "images": ["0" * 16]}, {"data": "BUSI", "images": ["0" * 16]}, {}):
        with pytest.raises(SonoforgeError, match="--data FOLDER"):
            gate.find_images("", None, settings(cache), JudgedModel(CLASSES, training, None))


def test_phantom_by_name_is_taken_whatever_the_run_had(cache: Path) -> None:
    of_run = settings(cache, data="phantom", **{"phantom.images": 10})
    assert len(find_images("phantom", None, of_run).pixels) == PHANTOMS
    assert find_images("", None, of_run).source == "10 simulated breast scans (phantom), 30 variants"


def test_few_images_given_by_name_are_enough(cache: Path, scans: Path, tmp_path: Path) -> None:
    for name in CLASSES[:2]:
        (tmp_path / "few" / name).mkdir(parents=True)
        shutil.copy(next((scans / name).glob("*).png")), tmp_path / "few" / name)
    assert find_images(str(tmp_path / "few"), None, settings(cache)).source == "2 images of few, 30 variants"

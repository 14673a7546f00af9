"""The shipped weights refuse every data set with an image that they were trained on, changed or not."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from corners import corners
from program import sonoforge
from scans import write_set
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import GateError
from sonoforge.training.classifier import initial_weights, trained_on
from sonoforge.training.classifier.initial_weights import choose_weights
from sonoforge.training.classifier.model_folder import Origin
from sonoforge.training.classifier.trained_on import collection_names, find_seen, refuse_seen, write_signatures
from sonoforge.training.crossval.choices import count_chosen_on
from sonoforge.training.data.cache import open_cache
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.data.load import read_collections
from sonoforge.training.phantom.dataset import write_phantom_set


def one_pixel(image: Image.Image) -> Image.Image:
    changed = image.copy()
    changed.putpixel((5, 7), 255 - changed.getpixel((5, 7)))  # type: ignore[operator]
    return changed


def jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return Image.open(file)


def cropped(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((width // 5, 0, width, height * 4 // 5))


def gained(image: Image.Image) -> Image.Image:
    return image.point([min(255, round(level * 1.3 + 10)) for level in range(256)])


CHANGES = {
    "one pixel": (one_pixel, ""),
    "JPEG 95": (jpeg, ""),
    "mirrored": (ImageOps.mirror, ", mirrored"),
    "cropped": (cropped, ", zoom 1.25"),
    "gain": (gained, ""),
}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "phantoms"
    write_phantom_set(root, 15, 5)
    (root / "groups.csv").unlink()
    return root


def busi(shared: Path, number: int) -> Image.Image:
    with Image.open(shared / "data" / "BUSI" / "Dataset_BUSI_with_GT" / "benign" / f"benign ({number}).png") as image:
        return image.convert("L")


@pytest.mark.parametrize("kind", corners(CHANGES, "one pixel", "mirrored", "cropped"))
def test_changed_images_are_refused_with_the_training_image_that_they_show(
    shared: Path, tmp_path: Path, kind: str
) -> None:
    change, how = CHANGES[kind]
    root = write_set(tmp_path / "set", {"benign": 2, "normal": 6})
    change(busi(shared, 101)).save(root / "benign" / "own.png")
    done = sonoforge(
        "train", "--data", root, "--weights", "shipped", "--set", f"cache.folder={tmp_path}", "--out", tmp_path / "runs"
    )
    assert done.code == 1
    (line,) = [line for line in done.err.splitlines() if "error" in line]
    assert "trained on 1 of these 9 images or on other versions of them" in line
    files = [item.path for item in read_dataset(shared / "data" / "BUSI").items]
    number = files.index("benign/benign (101).png") + 1
    assert line.endswith(f"(benign/own.png ~ training image {number} of BUSI (benign){how}); use imagenet or a file")


@pytest.mark.slow
def test_simulated_scans_are_accepted_and_with_one_image_among_them_refused(
    shared: Path, phantoms: Path, tmp_path: Path
) -> None:
    bundle = open_bundle()
    assert find_seen(bundle, open_cache(read_dataset(phantoms), 64, tmp_path)) == []
    cropped(ImageOps.mirror(busi(shared, 20))).save(phantoms / "malignant" / "one.png")
    cache = open_cache(read_dataset(phantoms), 64, tmp_path)
    for _ in range(2):  # the second time from what was kept
        with pytest.raises(
            GateError, match=r"1 of these 16 .*malignant/one\.png ~ training image \d+ of BUSI \(benign\), mir"
        ):
            refuse_seen(bundle, cache)
    assert count_chosen_on("quick", cache) == 1
    # A budget that was chosen on other collections, too, counts theirs.
    shutil.copy(min((shared / "data" / "BUS-BRA" / "benign").glob("*.jpg")), phantoms / "benign" / "two.jpg")
    cache = open_cache(read_dataset(phantoms), 64, tmp_path)
    assert count_chosen_on("quick", cache) == 1
    assert count_chosen_on("collections", cache) == 2


def test_signatures_tell_the_collection_of_each_training_image(tmp_path: Path) -> None:
    sets = [write_set(tmp_path / name, {"a": 3, "b": 2}, seed) for seed, name in enumerate(("one", "two"))]
    dataset = read_collections(sets)
    cache = open_cache(dataset, 64, tmp_path)
    indices = np.array([9, 0, 5, 3])
    with np.load(io.BytesIO(write_signatures(cache, indices))) as arrays:
        named = [collection_names(dataset)[index] for index in arrays["collections"]]
        hashes = [bytes(row).hex() for row in arrays["hashes"]]
    assert named == [dataset.items[index].path.split("/")[0] for index in indices]
    assert hashes == [cache.hashes[index][:16] for index in indices]
    assert collection_names(read_dataset(sets[0])) == ["one"]


def test_a_refusal_names_three_images_and_counts_the_others(shared: Path, tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", {"a": 2, "b": 2})
    for number in range(1, 6):
        busi(shared, number).resize((300, 260)).save(root / "a" / f"{number}.png")
    with pytest.raises(GateError, match=r"trained on 5 of these 9 .*a/3\.png ~ [^;]* and 2 more\)"):
        refuse_seen(open_bundle(), open_cache(read_dataset(root), 64, tmp_path))


def test_equal_pixels_are_seen_where_there_is_nothing_to_recognise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_set(tmp_path / "set", {"a": 2, "b": 2})
    Image.fromarray(np.zeros((90, 90), np.uint8)).save(root / "a" / "blank.png")
    cache = open_cache(read_dataset(root), 64, tmp_path)
    bundle = open_bundle()
    assert find_seen(bundle, cache) == []
    read = trained_on.read_origins

    def with_ours(*given: Any) -> list[Origin]:
        (_, *own), *others = read(*given)
        return [(cache.hashes[0][:16], own[0], own[1]), *others]

    monkeypatch.setattr(trained_on, "read_origins", with_ours)
    assert [seen.why for seen in find_seen(bundle, cache)] == ["training image 1 of BUSI (normal), the same pixels"]


def test_weights_that_nobody_names_are_the_shipped_ones_where_they_know_the_kind_and_none_of_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_phantom_set(tmp_path / "scans", 9, 6)
    cache = open_cache(read_dataset(tmp_path / "scans"), 224, tmp_path)
    for kind, expected in (("breast ultrasound", "shipped"), ("other", "imagenet")):
        monkeypatch.setattr(initial_weights, "kind_of", lambda *_, kind=kind: kind)
        assert choose_weights(None, cache) == expected
        assert choose_weights("none", cache) == "none"


def test_weights_that_nobody_names_are_imagenets_where_the_shipped_network_has_seen_an_image(
    shared: Path, tmp_path: Path
) -> None:
    for number, folder in enumerate(("a", "a", "b", "b"), 1):
        (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
        busi(shared, number).save(tmp_path / "set" / folder / f"{number}.png")
    assert choose_weights(None, open_cache(read_dataset(tmp_path / "set"), 224, tmp_path)) == "imagenet"

"""REAL and FAKE from wherever they are stored, brought to one size and one kind; or one line that says why not."""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from program import succeed
from scans import draw_scan, save, write_set
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.synthetic import open_target
from sonoforge.training.data.cache import open_cache
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.data.splits import scan_groups
from sonoforge.training.evaluation import image_set as pictures
from sonoforge.training.evaluation.image_set import ImageSet
from sonoforge.training.gan.generator import load_generator, sample
from sonoforge.training.gan.image_sets import read_image_sets
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.training_set import read_training_set
from sonoforge.training.run_options import EvaluationInput

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    monkeypatch.setenv("SONOFORGE_CACHE", str(tmp_path / "cache"))
    logging.getLogger("sonoforge").propagate = True
    with caplog.at_level(logging.INFO, "sonoforge"):
        yield


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """Two classes; a mask and a repeated scan under another name among them."""
    root = write_set(tmp_path / "real", {"benign": 5, "malignant": 4})
    save(root / "benign" / "scan (1)_mask.png", np.zeros((128, 128), np.uint8))
    save(root / "benign" / "again.png", draw_scan(2))
    return root


def read(real: str, fake: str, **options: Any) -> tuple[ImageSet, ImageSet]:
    return read_image_sets(EvaluationInput(real, fake, **options))


def _noise(count: int, size: int = 32, channels: int = 1, seed: int = 9) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def _origin(class_name: str = "malignant") -> dict[str, Any]:
    return {"synthetic": True, "class": class_name, "seed": 0}


def _generated(target: Path, images: Pixels, class_name: str = "malignant") -> Path:
    with open_target(target, _origin(class_name), len(images), images.shape[3]) as write:
        write(images)
    return target


def _refused(*arguments: Any, **options: Any) -> str:
    with pytest.raises(SonoforgeError) as error:
        read(*map(str, arguments), **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# Generated images, wherever they are.


@pytest.mark.parametrize("name", ["folder", "images.zip", "images.npz"])
@pytest.mark.parametrize("channels", [1, 3])
def test_generated_images_are_read_as_they_are(real: Path, tmp_path: Path, name: str, channels: int) -> None:
    images = _noise(6, channels=channels)
    fake = _generated(tmp_path / name, images)
    found_real, found = read(str(real), str(fake), channels=str(channels))
    assert np.array_equal(found.pixels, images)
    assert found_real.pixels.shape == (4, 32, 32, channels)  # the class that the generated images show
    assert (found.class_name, found.synthetic, found.resize) == ("malignant", True, "none")
    assert found_real.class_name == "malignant"
    assert found_real.synthetic is None
    assert len(set(found.names)) == 6
    assert [image.size for image in found.described] == [(32, 32)] * 6


def test_masks_of_generated_pairs_are_left_out(real: Path, tmp_path: Path) -> None:
    pairs = np.concatenate([_noise(4), np.full((4, 32, 32, 1), 255, np.uint8)], axis=3)
    for name in ("folder", "images.zip", "images.npz"):
        with open_target(tmp_path / name, _origin(), 4, image_channels=1) as write:
            write(pairs)
        _, found = read(str(real), str(tmp_path / name))
        assert np.array_equal(found.pixels, pairs[..., :1])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of one class, and one of both classes with masks."""
    folder = tmp_path_factory.mktemp("runs")
    data = write_set(folder / "data", {"benign": 6, "malignant": 6})
    for path in list(data.rglob("*.png")):
        save(path.with_name(path.stem + "_mask.png"), np.zeros((128, 128), np.uint8))
    small = ["--image-size", "32", "--set", "gan.batch=4", "--set", "gan.width=4", "--steps", "1", "--device", "cpu"]
    small += ["--recipe", "dcgan", "--set", "gan.metrics=none"]
    common = ["gan", "train", "--data", data, *small, "--set", f"cache.folder={folder / 'cache'}"]
    one = succeed(*common, "--class", "benign", "--out", folder / "one").json["run"]
    masked = ["--conditioning", "projection", "--set", "gan.masks=true", "--out", folder / "both"]
    both = succeed(*common, *masked).json["run"]
    return {"one": Path(one), "both": Path(both), "data": data}


def test_a_run_generates_as_many_images_as_there_are_real_ones(real: Path, runs: dict[str, Path]) -> None:
    found_real, found = read(str(real), str(runs["one"]), seed=3)
    assert len(found) == len(found_real) == 6  # of class benign, that the run was trained on
    assert np.array_equal(found.pixels, sample(load_generator(runs["one"]), 6, 3))
    assert (found.class_name, found.synthetic) == ("benign", True)
    checkpoint = next((runs["one"] / "checkpoints").iterdir())
    _, more = read(str(real), str(checkpoint), seed=3, count=9)
    assert np.array_equal(more.pixels[:6], found.pixels)
    assert len(more) == 9


def test_a_run_of_several_classes_is_asked_for_one(real: Path, runs: dict[str, Path]) -> None:
    assert "class_name: is missing; choose one of benign, malignant" in _refused(real, runs["both"])
    assert "did you mean malignant?" in _refused(real, runs["both"], class_name="malignan")
    found_real, found = read(str(real), str(runs["both"]), class_name="malignant")
    assert np.array_equal(found.pixels, sample(load_generator(runs["both"]), 4, 0, label=1)[..., :1])
    assert found_real.class_name == found.class_name == "malignant"


# Real images, wherever they are.


@pytest.mark.parametrize("size", [48, 224, 256])
def test_a_folder_a_zip_and_a_training_give_the_same_pixels(real: Path, tmp_path: Path, size: int) -> None:
    fakes = _generated(tmp_path / "fakes.npz", _noise(3, size))
    with zipfile.ZipFile(tmp_path / "real.zip", "w") as archive:
        for file in sorted(real.rglob("*.png")):
            archive.write(file, f"set/{file.relative_to(real)}")
    folder, _ = read(str(real), str(fakes))
    packed, _ = read(str(tmp_path / "real.zip"), str(fakes))
    expected = read_training_set((str(real),), GanSettings(class_name="malignant", image_size=size)).pixels
    assert np.array_equal(folder.pixels, expected)
    assert np.array_equal(packed.pixels, expected)
    assert [image.content for image in folder.described] == [image.content for image in packed.described]
    for one, other in zip(folder.described, packed.described, strict=True):
        assert np.array_equal(one.picture, other.picture)
    assert folder.names == packed.names
    assert folder.class_name == packed.class_name == "malignant"
    assert folder.fingerprint == packed.fingerprint
    assert ("then" in folder.resize) == (size < 224)


def test_colour_is_read_and_resized_as_a_training_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, height in (("a", 60), ("b", 90)):
        for number in range(3):
            save(tmp_path / "set" / name / f"{number}.png", rng.integers(0, 256, (height, 80, 3), dtype=np.uint8))
    fakes = _generated(tmp_path / "fakes.npz", _noise(3, channels=3), "b")
    found, _ = read(str(tmp_path / "set"), str(fakes))
    assert np.array_equal(
        found.pixels, read_training_set((str(tmp_path / "set"),), GanSettings(class_name="b", image_size=32)).pixels
    )
    assert found.pixels.shape == (3, 32, 32, 3)
    assert [image.size for image in found.described] == [(80, 90)] * 3


def test_a_flat_folder_is_one_class_without_its_masks(real: Path, tmp_path: Path) -> None:
    found, _ = read(str(real / "benign"), str(_generated(tmp_path / "fakes", _noise(3))))
    assert list(found.names) == ["again.png", *(f"scan ({number}).png" for number in range(1, 6))]
    assert np.array_equal(
        found.pixels, read_training_set((str(real),), GanSettings(class_name="benign", image_size=32)).pixels
    )


def test_near_duplicates_and_given_groups_are_one_group(real: Path, tmp_path: Path) -> None:
    files = [f"benign/{name}.png" for name in ("again", *(f"scan ({n})" for n in range(1, 6)))]
    files += [f"malignant/scan ({n}).png" for n in range(1, 5)]
    patients = {"benign/scan (1).png": "p", "benign/scan (5).png": "p"}
    rows = "".join(f"{file},{patients.get(file, '')}\n" for file in files)
    (real / "groups.csv").write_text("file,group\n" + rows)
    found, _ = read(str(real), str(_generated(tmp_path / "fakes", _noise(3), "")))
    assert len(found) == 10
    expected = scan_groups(open_cache(read_dataset(real)))
    assert np.array_equal(found.groups, expected)
    by_name = dict(zip(found.names, found.groups.tolist(), strict=True))
    assert by_name["benign/again.png"] == by_name["benign/scan (3).png"]
    assert by_name["benign/scan (1).png"] == by_name["benign/scan (5).png"]
    assert len(set(by_name.values())) == 8


# Which class.


def test_the_class_that_the_generated_images_show_is_taken_and_said(
    real: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fakes = _generated(tmp_path / "fakes", _noise(3))
    found, _ = read(str(real), str(fakes))
    assert {name.split("/")[0] for name in found.names} == {"malignant"}
    assert "only its images of class malignant" in caplog.text
    caplog.clear()
    other, _ = read(str(real), str(fakes), class_name="benign")
    assert {name.split("/")[0] for name in other.names} == {"benign"}
    assert "FAKE shows malignant, but is compared with real images of benign" in caplog.text


def test_images_of_no_class_or_of_all_are_compared_with_all(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, image in enumerate(_noise(3)):
        save(tmp_path / "plain" / f"{number}.png", image[..., 0])
    found, fakes = read(str(real), str(tmp_path / "plain"))
    assert len(found) == 10
    assert fakes.synthetic is None
    assert len(read(str(real), str(_generated(tmp_path / "fakes", _noise(3), "all")))[0]) == 10
    some = _generated(tmp_path / "some", _noise(3))
    assert len(read(str(real), str(some), class_name="all")[0]) == 10
    monkeypatch.setattr("sonoforge.training.evaluation.image_set.PHANTOM_IMAGES", 12)
    phantom, _ = read("phantom", str(some))
    assert (phantom.class_name, phantom.source, len(phantom)) == ("malignant", "phantom", 3)


# What cannot be compared.


def _zipped(path: Path, name: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"nothing")
    return path


def _saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


WRONG = {
    "count of a folder": (lambda p: _generated(p / "f", _noise(3)), {"count": 2}, "count: "),
    "one image": (lambda p: _generated(p / "one", _noise(1)), {}, "1 image"),
    "empty": (lambda p: (p / "none").mkdir() or p / "none", {}, "none: contains no images"),
    "empty zip": (lambda p: _zipped(p / "none.zip", "notes.txt"), {}, "contains no images"),
    "nowhere": (lambda p: p / "nowhere", {}, "no such file or folder"),
    "file": (lambda p: p / "real" / "groups.txt", {}, "groups.txt: unknown file type; give a folder"),
    "other class": (lambda p: _generated(p / "f", _noise(3)), {"class_name": "benin"}, "did you mean benign?"),
    "unknown class": (lambda p: _generated(p / "f", _noise(3), "carcinoma"), {}, "which is not one of the classes"),
    "pickle": (
        lambda p: _saved(p / "x.npz", images=np.array([{}], dtype=object)),
        {},
        "not a plain numpy archive (Obj",
    ),
    "nan": (lambda p: _saved(p / "x.npz", images=np.full((3, 32, 32, 1), np.nan, "f")), {}, "with NaN or infinity"),
    "float": (lambda p: _saved(p / "x.npz", images=np.zeros((3, 32, 32, 1))), {}, "is float64 (3, 32, 32, 1);"),
    "flat": (lambda p: _saved(p / "x.npz", images=np.zeros((3, 32, 32), np.uint8)), {}, "is uint8 (3, 32, 32);"),
    "alpha": (lambda p: _saved(p / "x.npz", images=np.zeros((3, 8, 8, 4), np.uint8)), {}, "is uint8 (3, 8, 8, 4);"),
    "nothing": (lambda p: _saved(p / "x.npz", images=np.zeros((0, 8, 8, 1), np.uint8)), {}, "is uint8 (0, 8, 8, 1);"),
    "other array": (lambda p: _saved(p / "x.npz", pictures=np.zeros(3)), {}, "no array called images, only pictures"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_source_of_generated_images_is_refused_in_one_line(real: Path, tmp_path: Path, case: str) -> None:
    make, options, message = WRONG[case]
    (real / "groups.txt").write_text("no images")
    assert message in _refused(real, make(tmp_path), **options)  # type: ignore[no-untyped-call]


def test_wrong_real_images_are_refused(real: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fakes = _generated(tmp_path / "fakes", _noise(3), "")
    assert "did you mean phantom?" in _refused("phantm", fakes)
    (real / "benign" / "scan (4).png").write_bytes(b"rubbish")
    assert len(read(str(real), str(fakes))[0]) == 9
    assert "1 of 10 files cannot be read and are left out" in caplog.text
    (real / "benign" / "scan (5).png").write_bytes(b"rubbish")
    assert "2 of 10 files cannot be read" in _refused(real, fakes)
    save(real / "stray.png", draw_scan(1))
    assert "1 images beside folders of images (benign, malignant)" in _refused(real, fakes)


def test_generated_images_are_refused_as_real_ones(real: Path, tmp_path: Path, runs: dict[str, Path]) -> None:
    fakes = _generated(tmp_path / "fakes", _noise(3))
    for source in (fakes, _generated(tmp_path / "f.zip", _noise(3)), _generated(tmp_path / "f.npz", _noise(3))):
        message = _refused(source, fakes)
        assert message.startswith(f"{source}: ")
        assert "as generated, but REAL must be real images" in message
    one = next(fakes.glob("*.png"))
    (real / "malignant" / "slipped in.png").write_bytes(one.read_bytes())
    assert "1 of 5 images (first malignant/slipped in.png) are marked as generated" in _refused(real, fakes)
    assert "a run of sonoforge gan train cannot be REAL" in _refused(runs["one"], fakes)


def test_images_that_say_they_are_real_are_no_fakes_without_a_warning(
    real: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.savez(tmp_path / "x.npz", images=_noise(3), manifest=np.array(json.dumps({"synthetic": False})))
    _, found = read(str(real), str(tmp_path / "x.npz"))
    assert found.synthetic is False
    assert "by its manifest these images are NOT generated" in caplog.text


def test_mixed_sizes_name_two_images_and_the_remedy(real: Path, tmp_path: Path) -> None:
    fakes = tmp_path / "fakes"
    save(fakes / "a.png", draw_scan(1, 32))
    save(fakes / "b.png", draw_scan(2, 48))
    assert "(a.png has 32x32 pixels, b.png 48x48); give the size to compare at, image_size" in _refused(real, fakes)
    _, found = read(str(real), str(fakes), image_size=40)
    for pixels, scan in zip(found.pixels, (draw_scan(1, 32), draw_scan(2, 48)), strict=True):
        expected = Image.fromarray(scan).resize((40, 40), Image.Resampling.BILINEAR)
        assert np.array_equal(pixels[..., 0], np.asarray(expected))
    assert "to 40x40" in found.resize
    save(tmp_path / "wide" / "a.png", draw_scan(1, 64)[:32])
    save(tmp_path / "wide" / "b.png", draw_scan(2, 64)[:32])
    assert "images have 64x32 pixels" in _refused(real, tmp_path / "wide")


def test_grey_against_colour_and_mixtures_are_refused_with_a_remedy(real: Path, tmp_path: Path) -> None:
    colour = _generated(tmp_path / "colour.npz", _noise(4, channels=3))
    assert "colour.npz: its images are in colour, those of " in _refused(real, colour)
    assert "give channels 1" in _refused(real, colour)
    found_real, found = read(str(real), str(colour), channels="1")
    luma = [np.asarray(Image.fromarray(image).convert("L")) for image in _noise(4, channels=3)]
    assert np.array_equal(found.pixels[..., 0], np.stack(luma))
    assert found_real.pixels.shape[3] == 1
    mixed = _noise(4, channels=3)
    mixed[:2] = mixed[:2, ..., :1]
    path = _generated(tmp_path / "mixed.npz", mixed)
    assert "mixes 2 grey images with 2 in colour" in _refused(real, path)


def test_a_few_coloured_images_do_not_make_a_grey_set_coloured(tmp_path: Path) -> None:
    """As in BUSI: 16 of 780."""
    images = np.repeat(_noise(20), 3, axis=3)
    images[3] = _noise(1, channels=3)[0]
    _, found = read(
        str(write_set(tmp_path / "set", {"a": 2, "b": 2})), str(_generated(tmp_path / "fakes.npz", images, ""))
    )
    assert found.pixels.shape == (20, 32, 32, 1)


@pytest.mark.parametrize("packed", [False, True])
def test_few_unreadable_files_are_left_out_and_counted_many_are_refused(
    real: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, packed: bool
) -> None:
    fakes = _generated(tmp_path / "fakes", _noise(20))

    def source() -> Path:
        if not packed:
            return fakes
        path = tmp_path / "packed.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in fakes.iterdir():
                archive.write(file, file.name)
        return path

    files = sorted(fakes.glob("*.png"))
    files[5].write_bytes(files[5].read_bytes()[:-40])
    _, found = read(str(real), str(source()))
    assert len(found) == 19
    assert "1 of 20 files cannot be read and are left out: " in caplog.text
    assert np.array_equal(found.pixels, np.delete(_noise(20), 5, axis=0))
    for file in files[:3]:
        file.write_bytes(b"rubbish")
    assert "4 of 20 files cannot be read (limit 10%); first: " in _refused(real, source())


def test_sets_that_are_too_large_are_refused(real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_BYTES", 9 * 32 * 32 - 1)
    assert "exceed the limit" in _refused(real, _generated(tmp_path / "x.npz", _noise(9)))
    for name in ("folder", "x.zip"):
        assert "GB of pixels; give fewer images" in _refused(real, _generated(tmp_path / name, _noise(9)))


def test_archives_with_changed_bytes_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    content = _generated(path, _noise(5)).read_bytes()
    damages = [b"", b"rubbish", content[: len(content) // 2]]
    rng = np.random.default_rng(0)
    for _ in range(80):
        damaged = bytearray(content)
        for position in rng.integers(max(0, len(content) - 2000), len(content), rng.integers(1, 9)):
            damaged[position] = rng.integers(256)
        damages.append(bytes(damaged))
    read = 0
    for damage in damages:
        path.write_bytes(damage)
        try:
            read += len(pictures.read_pictures(path, lambda classes: "").images) > 0
        except SonoforgeError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    assert read < 80

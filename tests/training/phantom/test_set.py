"""The simulated set: the same pixels for a seed, groups, marks, and its files."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from program import succeed
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.phantom import dataset as phantom

PIXEL_MM = 40 / 256


@pytest.fixture(scope="module")
def pictures() -> list[phantom.PhantomImage]:
    return list(phantom.generate_phantom_set(60, seed=3))


def test_same_seed_gives_the_same_pixels_and_another_seed_does_not(pictures: list[phantom.PhantomImage]) -> None:
    again = list(phantom.generate_phantom_set(60, seed=3))
    for first, second in zip(pictures, again, strict=True):
        np.testing.assert_array_equal(first.pixels, second.pixels)
        np.testing.assert_array_equal(first.mask, second.mask)
        assert (first.label, first.group) == (second.label, second.group)
    other = next(phantom.generate_phantom_set(60, seed=4))
    assert np.mean(other.pixels != pictures[0].pixels) > 0.5


def test_a_phantom_does_not_depend_on_what_was_generated_before_it(pictures: list[phantom.PhantomImage]) -> None:
    wanted = pictures[30]
    alone = phantom.generate_phantom(wanted.label, int(wanted.group.split("-")[1]), seed=3)
    assert any(np.array_equal(frame.pixels, wanted.pixels) for frame in alone)


def test_pictures_have_the_documented_form(pictures: list[phantom.PhantomImage]) -> None:
    for picture in pictures:
        assert picture.pixels.dtype == np.uint8
        assert picture.mask.dtype == np.bool_
        assert picture.pixels.shape == picture.mask.shape == (256, 256)
        assert picture.mask.any() == (picture.label != 0)
        assert 20 < picture.pixels.mean() < 200
        assert picture.pixels.std() > 15
    with pytest.raises(dataclasses.FrozenInstanceError):
        pictures[0].label = 1  # type: ignore[misc]


def test_class_counts_follow_busi_by_largest_remainder() -> None:
    assert phantom.class_counts(780) == (133, 437, 210)
    assert phantom.class_counts(400) == (68, 224, 108)
    assert phantom.class_counts(20) == (4, 11, 5)  # 3.4, 11.2, 5.4: a tie goes to the earlier class
    assert all(sum(phantom.class_counts(n)) == n for n in range(1, 60))


def test_groups_are_two_or_three_frames_of_one_lesion(pictures: list[phantom.PhantomImage]) -> None:
    groups: dict[str, list[phantom.PhantomImage]] = {}
    for picture in pictures:
        groups.setdefault(picture.group, []).append(picture)
    last = {label: max(p.group for p in pictures if p.label == label) for label in range(3)}
    sizes = {len(frames) for name, frames in groups.items() if name not in last.values()}
    assert sizes == {2, 3}
    for frames in groups.values():
        assert len({frame.label for frame in frames}) == 1
        for frame in frames[1:]:
            assert not np.array_equal(frame.pixels, frames[0].pixels)
            if not frame.label:
                continue
            # The same outline, moved sideways by no more than the probe was.
            limit = math.ceil(2 * phantom.SHIFT_MM / PIXEL_MM)
            shifts = [s for s in range(-limit, limit + 1) if _moved(frames[0].mask, frame.mask, s)]
            assert shifts


def _moved(first: np.ndarray, second: np.ndarray, shift: int) -> bool:
    overlap = slice(max(0, shift), 256 + min(0, shift))
    return bool(np.array_equal(np.roll(first, shift, axis=1)[:, overlap], second[:, overlap]))


def test_marks_do_not_know_the_class() -> None:
    lesion = np.zeros((256, 256), np.bool_)
    lesion[80:120, 90:150] = True
    with_calipers = []
    for seed in range(40):
        burned = []
        for mask in (lesion, np.zeros_like(lesion)):
            pixels = np.zeros((256, 256), np.uint8)
            rng = np.random.default_rng(seed)
            phantom.draw_marks(pixels, mask, rng)
            burned.append((pixels, rng.random()))
        assert burned[0][1] == burned[1][1]
        calipers = [bool((pixels == 245).any()) for pixels, _ in burned]
        assert calipers[0] == calipers[1]
        with_calipers.append(calipers[0])
        if calipers[0]:  # the crosses stand at the ends of the lesion
            assert all(burned[0][0][at] == 245 for at in ((80, 119), (119, 119), (99, 90), (99, 149)))
        for grey in (200, 230):  # ruler, text
            strip = [(pixels == grey) for pixels, _ in burned]
            assert np.array_equal(*strip)
    assert 0.3 < np.mean(with_calipers) < 0.7


def test_marks_touch_few_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    def scans(marked: float) -> list[phantom.PhantomImage]:
        monkeypatch.setattr(phantom, "MARKED", marked)
        return [scan for index in range(6) for scan in phantom.generate_phantom(1, index, seed=1)]

    plain, marked = scans(0), scans(1)
    shares = [np.mean(a.pixels != b.pixels) for a, b in zip(plain, marked, strict=True)]
    assert 0 < max(shares) < 0.02


def test_written_set_has_the_layout_of_busi_and_says_that_it_is_synthetic(tmp_path: Path) -> None:
    written = phantom.write_phantom_set(tmp_path / "set", 20, seed=5, size=64)
    expected = list(phantom.generate_phantom_set(20, seed=5, size=64))
    assert written["images"] == {"normal": 4, "benign": 11, "malignant": 5}
    assert written["groups"] == len({picture.group for picture in expected})
    with (tmp_path / "set" / "groups.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["group"] for row in rows] == [picture.group for picture in expected]
    assert rows[0]["file"] == "normal/normal (1).png"
    assert rows[-1]["file"] == "malignant/malignant (5).png"
    for row, picture in zip(rows, expected, strict=True):
        path = tmp_path / "set" / row["file"]
        with Image.open(path) as image, Image.open(path.with_name(path.stem + "_mask.png")) as mask:
            np.testing.assert_array_equal(np.asarray(image), picture.pixels)
            np.testing.assert_array_equal(np.asarray(mask) == 255, picture.mask)
            assert image.text["Description"] == mask.text["Description"] == "synthetic: sonoforge phantom"
    assert sum(1 for path in (tmp_path / "set").rglob("*") if path.is_file()) == 41
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_writing_refuses_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(SonoforgeError, match="choose a new or empty folder"):
        phantom.write_phantom_set(tmp_path, 4, seed=0, size=64)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter([b"one", b"two"])
    monkeypatch.setattr(phantom, "_png", lambda *_: next(calls))
    with pytest.raises(StopIteration):
        phantom.write_phantom_set(tmp_path / "set", 4, seed=0, size=64)
    assert list(tmp_path.iterdir()) == []


def test_verb_reports_counts_and_the_next_command(tmp_path: Path) -> None:
    out = tmp_path / "a set"
    done = succeed("data", "import", "phantom", out, "--images", "10", "--size", "64")
    assert done.json["images"] == {"normal": 2, "benign": 5, "malignant": 3}
    assert f"next: sonoforge run --data '{out}'" in done.err
    assert len(list(out.rglob("*_mask.png"))) == 10


def test_the_set_of_a_faster_process_is_read_and_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ImageSource(("phantom",), 20, 0, tmp_path)
    write, written = phantom.write_phantom_set, []

    def slower(root: Path, count: int, seed: int) -> None:
        written.append(write(root, count, seed))
        before = (root / "groups.csv").stat()
        with pytest.raises(SonoforgeError):
            write(root, count, seed)
        assert (root / "groups.csv").stat() == before
        raise SonoforgeError("another process was faster")

    monkeypatch.setattr(phantom, "write_phantom_set", slower)
    assert len(load_images(source).hashes) == 20 and len(written) == 1

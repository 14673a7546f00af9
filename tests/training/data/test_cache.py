"""The image cache: the runtime's own pixels, decoded once, never wrong, never in the way."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scans import draw_scan, save, write_set
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.training.data import cache as cache_module
from sonoforge.training.data.cache import ImageCache, open_cache
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.data.labelled_images import LabelledImages

SIZE = 48


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_set(tmp_path / "set", {"a": 3, "b": 2})


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files decoded so far."""
    names: list[str] = []
    original = cache_module.read_image

    def counting(path: Path) -> Image.Image:
        names.append(Path(path).name)
        return original(path)

    monkeypatch.setattr(cache_module, "read_image", counting)
    return names


def opened(root: Path) -> ImageCache:
    return open_cache(read_dataset(root), SIZE, root.parent / "cache")


def test_pixels_are_those_of_the_runtime(root: Path) -> None:
    colour = np.stack([draw_scan(50 + channel) for channel in range(3)], axis=2)[:100]
    save(root / "b" / "colour.png", colour)
    cache = opened(root)
    assert cache.images.shape == (6, SIZE, SIZE, 3)
    for item, pixels, size in zip(cache.dataset.items, cache.images, cache.sizes, strict=True):
        with Image.open(root / item.path) as image:
            assert image.size == tuple(size)
            np.testing.assert_array_equal(pixels, Preprocessing(size=SIZE).resize(image))
    assert cache.modes == ("L", "L", "L", "RGB", "L", "L")
    # Grey, the longest side 256, the shape kept: 128 x 128 and 128 x 100 pixels.
    assert [picture.shape for picture in cache.pictures] == [(256, 256)] * 3 + [(200, 256)] + [(256, 256)] * 2
    with pytest.raises(ValueError, match="read-only"):
        cache.images[0, 0, 0, 0] = 1


def test_content_hash_is_that_of_the_picture_not_of_the_file(root: Path) -> None:
    grey = draw_scan(0)
    save(root / "b" / "as_rgb.png", np.repeat(grey[:, :, None], 3, axis=2))
    Image.fromarray(grey).save(root / "b" / "other.bmp")
    save(root / "b" / "turned.png", np.ascontiguousarray(grey.reshape(64, 256)))  # the same bytes, another shape
    cache = opened(root)
    content = dict(zip((item.path for item in cache.dataset.items), cache.hashes, strict=True))
    assert content["a/scan (1).png"] == content["b/as_rgb.png"] == content["b/other.bmp"]
    assert len(set(cache.hashes)) == len(cache.hashes) - 2
    assert content["a/scan (1).png"] == hashlib.sha256(b"L 128x128 " + grey.tobytes()).hexdigest()
    assert dict(zip(content, cache.modes, strict=True))["b/as_rgb.png"] == "RGB grey"


def test_each_image_is_decoded_once_ever(root: Path, decoded: list[str]) -> None:
    first = opened(root)
    assert len(decoded) == 5
    again = opened(root)
    save(root / "b" / "new.png", draw_scan(99))
    more = opened(root)
    assert decoded[5:] == ["new.png"]
    moved = root.rename(root.parent / "elsewhere")
    opened(moved)
    assert len(decoded) == 6
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.images[:3], more.images[:3])


def test_a_warm_cache_reads_no_image_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    past = time.time() + 60  # pretend that a minute has passed since the files were written
    monkeypatch.setattr(cache_module.time, "time_ns", lambda: int(past * 1e9))
    opened(root)
    monkeypatch.setattr(cache_module, "sha256_of", lambda path: pytest.fail(f"{path} was read again"))
    opened(root)


def test_labelled_images_are_decoded_anew_at_a_larger_side(root: Path) -> None:
    cache, twice = opened(root), open_cache(read_dataset(root), 2 * SIZE, root.parent / "other")
    some = LabelledImages.of_set(cache, np.array([2, 0])).subset(np.array([1]))
    assert some.larger is not None
    np.testing.assert_array_equal(some.larger(2 * SIZE), twice.images[[0]])
    path = root / cache.dataset.items[0].path
    Image.fromarray(np.full((50, 60), 7, np.uint8)).save(path)
    with pytest.raises(SonoforgeError, match="files were changed while they were in use"):
        some.larger(2 * SIZE)


def test_a_changed_file_is_noticed_even_with_its_old_size_and_date(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.time_ns() + 60 * 10**9
    monkeypatch.setattr(cache_module.time, "time_ns", lambda: later)
    for name, pixels in (("x.bmp", draw_scan(70)), ("y.bmp", draw_scan(71))):
        Image.fromarray(pixels).save(root / "a" / name)
    before = opened(root)
    path = root / "a" / "x.bmp"
    status = path.stat()
    time.sleep(0.02)  # a tick of the file system's clock
    data = (root / "a" / "y.bmp").read_bytes()
    assert len(data) == status.st_size
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = opened(root)
    names = [item.path for item in before.dataset.items]
    x, y = names.index("a/x.bmp"), names.index("a/y.bmp")
    assert before.hashes[x] != before.hashes[y]
    assert after.hashes[x] == after.hashes[y] == before.hashes[y]
    assert before.fingerprint != after.fingerprint


def test_a_file_changed_within_one_tick_of_a_coarse_clock_is_noticed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = cache_module._stamp

    def coarse(path: Path) -> list[int]:
        size, inode, *times = exact(path)
        return [size, inode, *(t // 2_000_000_000 * 2_000_000_000 for t in times)]

    monkeypatch.setattr(cache_module, "_stamp", coarse)
    path = root / "a" / "x.bmp"
    Image.fromarray(draw_scan(70)).save(path)
    before = opened(root)
    Image.fromarray(draw_scan(71)).save(path)
    assert opened(root).hashes != before.hashes


@pytest.mark.parametrize("harm", ["truncate", "flip", "empty", "text"])
@pytest.mark.parametrize("kind", ["images", "sets", "folders"])
def test_a_damaged_cache_file_is_rebuilt(root: Path, kind: str, harm: str) -> None:
    good = opened(root)
    expected = np.array(good.images), good.hashes, [np.array(picture) for picture in good.pictures]
    del good
    folder = root.parent / "cache"
    if kind == "images":  # single images are read where the set has no file
        for whole in folder.rglob("sets-*/*.bin"):
            whole.unlink()
    damaged = [file for file in folder.rglob("*") if file.is_file() and kind in file.relative_to(folder).parts[1]]
    assert damaged or kind == "folders"
    for file in damaged:
        data = bytearray(file.read_bytes())
        if harm == "truncate":
            data = data[: len(data) // 2]
        elif harm == "flip":
            data[len(data) // 2] ^= 4
        elif harm == "empty":
            data = bytearray()
        else:
            data = bytearray(b"hello")
        file.write_bytes(data)
    again = opened(root)
    np.testing.assert_array_equal(again.images, expected[0])
    for picture, before in zip(again.pictures, expected[2], strict=True):
        np.testing.assert_array_equal(picture, before)
    assert again.hashes == expected[1]


def test_unreadable_files_are_left_out_and_named(root: Path) -> None:
    (root / "a" / "cut.png").write_bytes((root / "a" / "scan (1).png").read_bytes()[:2000])
    (root / "b" / "text.jpg").write_text("not a picture")
    for _ in range(2):
        cache = opened(root)
        assert set(cache.unreadable) == {"a/cut.png", "b/text.jpg"}
        assert len(cache.images) == len(cache.dataset.items) == len(cache.hashes) == 5
        assert all("\n" not in message for message in cache.unreadable.values())


def test_a_file_that_changes_while_it_is_decoded_is_not_stored_as_the_old_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = cache_module.read_image

    def meddling(path: Path) -> Image.Image:
        if path.name == "scan (2).png" and path.parent.name == "a":
            save(path, draw_scan(500))
        return original(path)

    monkeypatch.setattr(cache_module, "read_image", meddling)
    assert "changed while it was being read" in opened(root).unreadable["a/scan (2).png"]
    monkeypatch.setattr(cache_module, "read_image", original)
    assert opened(root).unreadable == {}


def test_a_class_without_readable_images_is_an_error(root: Path) -> None:
    for file in (root / "b").iterdir():
        file.write_bytes(b"")
    with pytest.raises(SonoforgeError, match="none of its 2 images can be read"):
        opened(root)


def test_a_cache_folder_that_cannot_be_written_is_one_line(root: Path) -> None:
    (root.parent / "cache").write_text("a file is in the way")
    with pytest.raises(SonoforgeError, match="SONOFORGE_CACHE"):
        opened(root)


def test_fingerprint_follows_contents_and_labels_not_names(root: Path) -> None:
    first = opened(root).fingerprint
    (root / "a" / "scan (1).png").rename(root / "a" / "zzz.png")
    assert opened(root).fingerprint == first
    (root / "a" / "zzz.png").rename(root / "b" / "zzz.png")
    assert opened(root).fingerprint != first


def test_processes_may_share_a_new_cache_folder(root: Path) -> None:
    write_set(root, {"c": 30}, first_seed=300)
    program = (
        "import sys; from pathlib import Path\n"
        "from sonoforge.training.data.cache import open_cache\n"
        "from sonoforge.training.data.datasets import read_dataset\n"
        "c = open_cache(read_dataset(sys.argv[1]), 48, Path(sys.argv[2]))\n"
        "import hashlib; print(hashlib.sha256(c.images.tobytes()).hexdigest())\n"
    )
    command = [sys.executable, "-c", program, str(root), str(root.parent / "cache")]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {run.communicate(timeout=300)[0].strip() for run in runs}
    assert all(run.returncode == 0 for run in runs)
    assert answers == {hashlib.sha256(opened(root).images.tobytes()).hexdigest()}
    assert not list((root.parent / "cache").rglob("*sonoforge-tmp"))

"""The automatic reader: it sees a blur, at matched sharpness no more, and between two halves of one set nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from readings import NONCE, image_set, noise
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.pixels import Pixels
from sonoforge.training.evaluation.spaces import Space, open_space
from sonoforge.training.phantom.dataset import generate_phantom_set
from sonoforge.training.reader_study.answers import read_readers, write_reader
from sonoforge.training.reader_study.automatic import read_automatically
from sonoforge.training.reader_study.scores import ReaderResult, score_reader
from sonoforge.training.reader_study.sheet import Pair, make_sheet


def blur(images: Pixels, sigma: float) -> Pixels:
    blurred = ndimage.gaussian_filter(images.astype(np.float64), (0, sigma, sigma, 0))
    return np.rint(blurred).astype(np.uint8)


def read(real: Pixels, fake: Pixels, count: int, space: Space, cache: Path) -> list[ReaderResult]:
    """Figures as is and at matched sharpness."""
    pair = Pair(image_set("real", real), image_set("fake", fake))
    key = make_sheet([pair], count, (), NONCE).key
    return [score_reader(reader, key) for reader in read_automatically([pair], key, space, cache_folder=cache)]


def check_chance(found: ReaderResult) -> None:
    assert found["unanswered"] == 0
    assert found["p_value"] > 0.05
    assert found["auc"] is not None and found["auc"]["low"] < 0.5 < found["auc"]["high"]


def check_told(found: ReaderResult) -> None:
    assert found["unanswered"] == 0
    assert found["accuracy"]["low"] > 0.8
    assert found["auc"] is not None and found["auc"]["low"] > 0.9


@pytest.fixture(scope="module")
def phantoms() -> Pixels:
    """Eighty in a random order: they are drawn class by class."""
    drawn = np.stack([one.pixels for one in generate_phantom_set(80, 0, size=64)])[..., None]
    return np.random.default_rng(0).permutation(drawn)


def test_a_blur_is_told_as_is_and_not_at_matched_sharpness(
    phantoms: Pixels, squeezenet_file: Path, tmp_path: Path
) -> None:
    space = open_space("squeezenet-imagenet", squeezenet_file)
    as_is, matched = read(phantoms[:40], blur(phantoms[40:], 1), 40, space, tmp_path)
    check_told(as_is)
    check_chance(matched)
    for found in read(phantoms[:40], phantoms[40:], 40, space, tmp_path):
        check_chance(found)


@pytest.mark.slow
def test_scans_of_patients_and_a_real_network_do_the_same(busi: ImageCache, shared: Path, tmp_path: Path) -> None:
    weights = shared / "weights" / "mobilenet_v2_imagenet_fp16.safetensors"
    space = open_space("mobilenetv2-imagenet", weights)
    groups = busi.near_duplicates.groups
    once = np.random.default_rng(0).permutation(np.unique(groups, return_index=True)[1])[:300]
    first, second = busi.images[once[:150]], busi.images[once[150:]]
    as_is, matched = read(first, blur(second, 0.7), 60, space, tmp_path)
    check_told(as_is)
    check_chance(matched)
    for found in read(first, second, 60, space, tmp_path):
        check_chance(found)


def test_its_answers_are_saved_and_read_as_a_readers(tmp_path: Path) -> None:
    pair = Pair(image_set("real", noise(12, 0)), image_set("fake", noise(12, 1)))
    key = make_sheet([pair], 6, (), NONCE).key
    readers = read_automatically([pair], key, open_space("pixels"))
    assert [reader.name for reader in readers] == ["automatic, as is", "automatic, matched sharpness"]
    assert "12 real and 12 generated images" in readers[0].experience
    for number, reader in enumerate(readers):
        write_reader(tmp_path / f"{number}.json", reader, "seal")
    for written, found in zip(readers, read_readers([tmp_path], key, "seal"), strict=True):
        assert (found.name, found.experience, found.answers) == (written.name, written.experience, written.answers)


def test_every_image_is_answered_where_two_sets_share_their_scans() -> None:
    """Two generators beside the same ten scans, all of which are on the sheet twice."""
    real = image_set("real", noise(10, 0))
    pairs = [Pair(real, image_set(f"fake {seed}", noise(10, seed))) for seed in (1, 2)]
    key = make_sheet(pairs, 10, (), NONCE).key
    for reader in read_automatically(pairs, key, open_space("pixels")):
        assert sorted(reader.answers) == list(range(1, 41))
        said: dict[str, set[str]] = {}
        for entry in key.entries:
            said.setdefault(entry.picture, set()).add(reader.answers[entry.number].kind)
        assert all(len(kinds) == 1 for kinds in said.values())

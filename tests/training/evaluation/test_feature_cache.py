"""The cache of feature vectors: nothing embedded twice, nothing damaged used, many processes at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.evaluation import spaces as feature_cache
from sonoforge.training.evaluation.spaces import FOLDER, Embedded, Space, embed_cached, open_space

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class Network:
    """A space whose network counts the images that it saw."""

    def __init__(self, weights: str = "a", dimension: int = 6, classes: int = 3) -> None:
        self.seen = 0
        self.matrix = np.random.default_rng(dimension).normal(size=(48, dimension)).astype(np.float32)
        self.classes = classes
        self.space = Space(f"network {weights}", {"space": "test", "weights": weights}, self._run, batch=1)

    def _run(self, images: Pixels) -> Embedded:
        self.seen += len(images)
        features = images.reshape(len(images), -1).astype(np.float32) @ self.matrix
        shares = np.abs(features[:, : self.classes]) + 1
        return Embedded(features, shares / shares.sum(1, keepdims=True) if self.classes else None)


def _images(count: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)


def _assert_equal(found: Embedded, expected: Embedded) -> None:
    assert found.features.dtype == np.float32
    assert np.array_equal(found.features, expected.features)
    assert (found.probabilities is None) == (expected.probabilities is None)
    if found.probabilities is not None and expected.probabilities is not None:
        assert np.array_equal(found.probabilities, expected.probabilities)


@pytest.mark.parametrize("classes", [0, 3])
def test_the_second_call_runs_no_network_and_returns_the_same_bits(tmp_path: Path, classes: int) -> None:
    network, images = Network(classes=classes), _images(20)
    first = embed_cached(network.space, images, tmp_path)
    assert network.seen == 20
    second = embed_cached(network.space, images, tmp_path)
    assert network.seen == 20
    _assert_equal(second, first)
    _assert_equal(second, Network(classes=classes).space.embed(images))


def test_other_images_networks_or_devices_have_their_own_vectors(tmp_path: Path) -> None:
    first, second, images = Network("a"), Network("b", dimension=4), _images(6)
    embed_cached(first.space, images, tmp_path)
    assert embed_cached(second.space, images, tmp_path).features.shape == (6, 4)
    on_gpu = Space(first.space.name, first.space.protocol, first.space.run, batch=1, device="cuda")
    embed_cached(on_gpu, images, tmp_path)
    changed = images.copy()
    changed[5, 3, 3, 2] ^= 1
    embed_cached(first.space, changed, tmp_path)
    embed_cached(first.space, images.reshape(6, 2, 8, 3), tmp_path)  # the same bytes in another shape
    assert (first.seen, second.seen) == (24, 6)


def test_progress_counts_cached_images_and_an_interruption_loses_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache, "_CHUNK", 8)
    network, images, told = Network(), _images(30), []

    def stop_at_20(done: int, state: str | None) -> None:
        told.append(done)
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_cached(network.space, images, tmp_path, stop_at_20)
    assert told == list(range(1, 21))
    network.seen, told = 0, []
    found = embed_cached(network.space, images, tmp_path, lambda done, _: told.append(done))
    assert network.seen == 14  # two files of 8 were complete
    assert told == [8, 16, *range(17, 31)]
    _assert_equal(found, network.space.embed(images))


@pytest.mark.parametrize("damage", ["rubbish", "cut", "flipped", "empty"])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: str) -> None:
    network, images = Network(dimension=40), _images(20)
    expected = embed_cached(network.space, images, tmp_path)
    (path,) = (tmp_path / FOLDER).iterdir()
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes({"rubbish": b"no vectors", "cut": content[:middle], "flipped": flipped, "empty": b""}[damage])
    network.seen = 0
    for _ in range(2):
        _assert_equal(embed_cached(network.space, images, tmp_path), expected)
    assert network.seen == 20


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_bytes(b"")
    with pytest.raises(SonoforgeError, match=r"features.*cannot be written") as error:
        embed_cached(Network().space, _images(2), tmp_path)
    assert "\n" not in str(error.value)


def test_many_may_write_the_same_files_at_once(tmp_path: Path) -> None:
    images, expected = _images(60), Network().space.embed(_images(60))

    def work(_: int) -> Embedded:
        return embed_cached(Network().space, images, tmp_path)

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(work, range(12)):
            _assert_equal(found, expected)
    assert len(list((tmp_path / FOLDER).iterdir())) == 1


def test_what_costs_nothing_is_not_cached(tmp_path: Path) -> None:
    images = _images(3)
    found = embed_cached(open_space("pixels"), images, tmp_path)
    assert np.array_equal(found.features, (images.reshape(3, -1) / 255).astype(np.float32))
    assert not list(tmp_path.iterdir())

"""The cache of feature vectors: nothing embedded twice, nothing damaged used, many processes at once."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.metrics import feature_cache
from sonoforge.training.metrics.feature_cache import FILE, embed_cached, hash_images
from sonoforge.training.metrics.spaces import Embedded, Space, open_space

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


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Warnings reach caplog also after a test that configured the command line's logging."""
    logger = logging.getLogger("sonoforge")
    before = logger.propagate
    logger.propagate = True
    with caplog.at_level(logging.INFO, "sonoforge"):
        yield
    logger.propagate = before


@pytest.mark.parametrize("classes", [0, 3])
def test_the_second_call_runs_no_network_and_returns_the_same_bits(tmp_path: Path, classes: int) -> None:
    network, images = Network(classes=classes), _images(20)
    expected = network.space.embed(images)
    network.seen = 0
    _assert_equal(embed_cached(network.space, images, tmp_path), expected)
    assert network.seen == 20
    _assert_equal(embed_cached(network.space, images[::-1], tmp_path), network.space.embed(images[::-1]))
    assert network.seen == 20 + 20  # those of the comparison alone


def test_one_changed_image_embeds_one_image(tmp_path: Path) -> None:
    network, images = Network(), _images(20)
    embed_cached(network.space, images, tmp_path)
    images[7, 2, 1, 0] ^= 1
    network.seen = 0
    found = embed_cached(network.space, images, tmp_path)
    assert network.seen == 1
    _assert_equal(found, network.space.embed(images))


def test_equal_images_within_a_call_are_embedded_once(tmp_path: Path) -> None:
    network, images = Network(), _images(5)
    twice = np.concatenate([images, images])
    found = embed_cached(network.space, twice, tmp_path)
    assert network.seen == 5
    _assert_equal(found, network.space.embed(twice))


def test_another_network_or_device_has_its_own_vectors(tmp_path: Path) -> None:
    first, second, images = Network("a"), Network("b", dimension=4), _images(6)
    embed_cached(first.space, images, tmp_path)
    _assert_equal(embed_cached(second.space, images, tmp_path), second.space.embed(images))
    elsewhere = Space(first.space.name, first.space.protocol, first.space.run, batch=1, device="cuda")
    first.seen = 0
    embed_cached(elsewhere, images, tmp_path)
    assert first.seen == 6


def test_the_shape_belongs_to_the_content() -> None:
    image = np.arange(48, dtype=np.uint8)
    hashes = {hash_images(image.reshape(1, *shape))[0] for shape in ((4, 4, 3), (4, 12, 1), (12, 4, 1), (2, 8, 3))}
    assert len(hashes) == 4


def test_progress_counts_cached_images_and_an_interruption_loses_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache, "_CHUNK", 8)
    network, images, told = Network(), _images(30), []
    embed_cached(network.space, images[:10], tmp_path)

    def stop_at_20(done: int, state: str | None) -> None:
        told.append(done)
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_cached(network.space, images, tmp_path, stop_at_20)
    assert told == list(range(11, 21))
    network.seen = 0
    embed_cached(network.space, images, tmp_path, lambda done, _: told.append(done))
    assert network.seen == 12  # 10 were there, 8 of the interrupted call were written
    assert told[-1] == 30


def test_a_damaged_row_is_embedded_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network, images = Network(), _images(9)
    expected = embed_cached(network.space, images, tmp_path)
    key = hash_images(images)[4]
    with sqlite3.connect(tmp_path / FILE) as base:
        (vectors,) = base.execute("SELECT vectors FROM features_1 WHERE image = ?", (key,)).fetchone()
        base.execute("UPDATE features_1 SET vectors = ? WHERE image = ?", (vectors[:-1] + b"\x00", key))
    base.close()
    network.seen = 0
    _assert_equal(embed_cached(network.space, images, tmp_path), expected)
    assert network.seen == 1
    assert "1 damaged rows" in caplog.text
    embed_cached(network.space, images, tmp_path)
    assert network.seen == 1  # it was mended


@pytest.mark.parametrize("damage", ["rubbish", "cut", "overwritten", "empty", "cut in a page"])
def test_a_damaged_file_is_said_so_and_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    network, images, path = Network(dimension=40), _images(200), tmp_path / FILE
    expected = embed_cached(network.space, images, tmp_path)
    content = path.read_bytes()
    path.write_bytes(
        {
            "rubbish": b"not a data base" * 100,
            "cut": content[: len(content) // 2 // 4096 * 4096],
            "overwritten": content[:8192] + bytes(len(content) - 8192),
            "empty": b"",
            "cut in a page": content[: len(content) // 2 + 100],
        }[damage]
    )
    network.seen = 0
    _assert_equal(embed_cached(network.space, images, tmp_path), expected)
    assert network.seen > 100
    assert ("damaged" in caplog.text) == (damage != "empty")  # an empty file is how SQLite itself begins
    network.seen = 0
    _assert_equal(embed_cached(network.space, images, tmp_path), expected)
    assert network.seen == 0


def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / FILE).mkdir()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SonoforgeError, match=r"features\.sqlite: the cache of feature vectors .*--cache") as error:
            embed_cached(Network().space, _images(2), folder)
        assert "\n" not in str(error.value)
    with pytest.raises(SonoforgeError, match="cannot be used"):
        embed_cached(Network().space, _images(2), tmp_path)


def test_processes_share_one_file(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import test_feature_cache as t\n"
        "n = t.Network(); images = t._images(60)\n"
        "for i in range(0, 60, 3): t.embed_cached(n.space, images[i : i + 30], Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in running:
        _, complaints = process.communicate(timeout=120)
        assert process.returncode == 0, complaints
        assert complaints == ""
    network = Network()
    found = embed_cached(network.space, _images(60), tmp_path)
    assert network.seen == 0
    _assert_equal(found, network.space.embed(_images(60)))


def test_the_vectors_asked_for_longest_ago_are_dropped_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = Network(dimension=500), _images(300)
    embed_cached(network.space, images[:200], tmp_path)
    with sqlite3.connect(tmp_path / FILE) as base:
        base.execute("UPDATE features_1 SET day = day - 9")
    base.close()
    embed_cached(network.space, images[:50], tmp_path)  # asked for today
    monkeypatch.setattr(feature_cache, "LARGEST", 1.5 * 0.9 * (tmp_path / FILE).stat().st_size)
    embed_cached(network.space, images[200:], tmp_path)  # one and a half times as many rows: too many
    network.seen = 0
    recent = np.concatenate([images[:50], images[200:]])
    embed_cached(network.space, recent, tmp_path)
    assert network.seen == 0
    embed_cached(network.space, images[50:200], tmp_path)
    assert 60 < network.seen < 150  # a quarter of 300 at least, and not all


def test_a_thousand_vectors_come_back_in_well_under_a_second(tmp_path: Path) -> None:
    matrix = np.ones((12, 1280), np.float32)
    space = Space("wide", {"space": "wide"}, lambda i: Embedded(i.reshape(len(i), -1) @ matrix, None), batch=1000)
    images = np.random.default_rng(0).integers(0, 256, (1000, 2, 2, 3), dtype=np.uint8)
    embed_cached(space, images, tmp_path)
    start = time.perf_counter()
    embed_cached(space, images, tmp_path)
    assert time.perf_counter() - start < 1


def test_what_costs_nothing_is_not_kept(tmp_path: Path) -> None:
    images = _images(3)
    found = embed_cached(open_space("pixels"), images, tmp_path)
    assert np.array_equal(found.features, (images.reshape(3, -1) / 255).astype(np.float32))
    assert not list(tmp_path.iterdir())

"""Feature spaces: opened by name or refused, embedded as their protocols say, and nothing embedded twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import bundle_factory
from scans import draw_scan
from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.pixels import to_tensor, to_unit
from sonoforge.training.evaluation import spaces as feature_cache
from sonoforge.training.evaluation.features import open_features
from sonoforge.training.evaluation.spaces import FOLDER, Embedded, Space, embed_cached, network_space, open_space

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def _scans(count: int, size: int = 48, channels: int = 1) -> Pixels:
    return np.repeat(np.stack([draw_scan(seed, size) for seed in range(count)])[..., None], channels, axis=3)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_factory.write_bundle(tmp_path_factory.mktemp("bundles") / "patches")


def test_bundle_embeds_and_classifies_as_numpy_does(bundle: Path) -> None:
    images = _scans(11)
    resized = [Image.fromarray(image[..., 0]).resize((64, 64), Image.Resampling.BILINEAR) for image in images]
    expected = bundle_factory.forward(np.repeat(np.stack([np.asarray(r) for r in resized])[..., None], 3, axis=3))
    found = open_space(f"bundle:{bundle}").embed(images)
    assert np.allclose(found.features, expected["embedding"], atol=1e-4)
    assert found.probabilities is not None
    assert np.allclose(found.probabilities, expected["probabilities"], atol=1e-4)


def test_imagenet_network_embeds_as_torchvision_does(squeezenet_file: Path) -> None:
    from safetensors.torch import load_file

    network = import_torchvision().models.squeezenet1_1(weights=None)
    network.load_state_dict(load_file(squeezenet_file))
    images = _scans(3, 224, 3)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    values = ((torch.from_numpy(images) / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = network.features(values).mean((2, 3)).numpy()
    space = open_space("squeezenet-imagenet", squeezenet_file)
    found = space.embed(images)
    assert found.features.shape == (3, space.protocol["dimension"]) == (3, 512)
    assert np.allclose(found.features, expected, atol=1e-4 * np.abs(expected).max())
    assert found.probabilities is None


def test_pixels_are_the_images_themselves_or_their_area_averages() -> None:
    images = _scans(5, 40, 3)
    space = open_space("pixels")
    assert np.array_equal(space.embed(images).features, (images.reshape(5, -1) / 255).astype(np.float32))
    large = _scans(5, 128)
    blocks = large[..., 0].reshape(5, 64, 2, 64, 2).mean((2, 4)) / 255
    assert np.allclose(space.embed(large).features, blocks.reshape(5, -1), atol=1e-6)
    assert "64x64" in space.protocol["resize"]


def test_area_averages_are_exact_at_any_ratio() -> None:
    images = _scans(3, 100, 3)
    fine = images.repeat(16, axis=1).repeat(16, axis=2)  # an exact average by common subdivision: 1600 = 64 * 25
    blocks = fine.reshape(3, 64, 25, 64, 25, 3).mean((2, 4)) / 255
    assert np.allclose(open_space("pixels").embed(images).features, blocks.reshape(3, -1), atol=1e-6)


def test_a_network_that_is_open_already_embeds_under_its_own_name(squeezenet_file: Path) -> None:
    network, images = open_features(str(squeezenet_file)), _scans(35, 64)
    space = network_space(network)
    with torch.inference_mode():
        parts = [network.embed(to_unit(to_tensor(part))).numpy() for part in (images[:32], images[32:])]
    assert np.array_equal(space.embed(images).features, np.concatenate(parts))
    assert space.name == network.name


@pytest.fixture
def spaces(bundle: Path, squeezenet_file: Path) -> list[Space]:
    return [open_space(f"bundle:{bundle}"), open_space("squeezenet-imagenet", squeezenet_file), open_space("pixels")]


def test_an_image_gets_the_same_vector_in_any_company(spaces: list[Space]) -> None:
    images = _scans(19)
    for space in spaces:
        whole = space.embed(images)
        assert np.array_equal(whole.features[::-1], space.embed(images[::-1]).features)
        for index in (0, 7, 8, 18):
            alone = space.embed(images[index : index + 1])
            assert np.array_equal(whole.features[index], alone.features[0])
            if whole.probabilities is not None and alone.probabilities is not None:
                assert np.array_equal(whole.probabilities[index], alone.probabilities[0])


def test_grey_is_seen_as_three_equal_channels(spaces: list[Space]) -> None:
    for space in spaces[:2]:
        assert np.array_equal(space.embed(_scans(3)).features, space.embed(_scans(3, channels=3)).features)


def test_the_network_sees_portions_of_one_size_and_progress_counts_images() -> None:
    space, sizes, told = open_space("pixels"), [], []

    def run(images: Pixels) -> Any:
        sizes.append(len(images))
        return space.run(images)

    watched = Space(space.name, space.protocol, run, batch=8)
    assert len(watched.embed(_scans(19, 16), lambda done, _: told.append(done)).features) == 19
    assert sizes == [8, 8, 8]
    assert told == [8, 16, 19]


def test_protocol_names_weights_resize_dimension_and_library(spaces: list[Space], bundle: Path) -> None:
    for space in spaces:
        assert {"space", "weights", "resize", "dimension", "library"} <= set(space.protocol)
    assert "patches 0.0.1 (model.onnx sha256 " in spaces[0].name
    assert len({space.identity for space in spaces}) == 3
    assert spaces[0].identity == open_space(f"bundle:{bundle}").identity


def test_the_shipped_bundle_says_what_it_was_trained_on() -> None:
    space = open_space("bundle")
    assert space.protocol["trained on"].startswith("BUSI+BUS-BRA+BrEaST+BUS-UC (fingerprint ")
    assert space.embed(_scans(1)).features.shape == (1, space.protocol["dimension"])


@pytest.mark.parametrize(
    ("choice", "weights", "message"),
    [
        ("inceptoin", None, r"must be one of inception, .*, not 'inceptoin' \(did you mean inception\?\)"),
        ("mobilenet", None, r"did you mean mobilenetv2-imagenet\?"),
        ("bundle:", None, r"must be one of .*bundle:PATH"),
        ("pixels:64", None, r"did you mean pixels\?"),
        ("", None, r"must be one of"),
        ("bundle:nowhere", None, r"nowhere: no such bundle"),
        ("pixels", "FILE", r"the feature space pixels takes no weights file .*; leave it out"),
        ("bundle", "FILE", "name it bundle:PATH"),
        ("mobilenetv2-imagenet", "FILE", r"not a torchvision mobilenet_v2; "),
        ("vgg16-imagenet", "missing.safetensors", "no such weights file; give a"),
    ],
)
def test_an_unknown_space_and_weights_that_mean_nothing_there_are_refused(
    choice: str, weights: str | None, message: str, squeezenet_file: Path
) -> None:
    with pytest.raises(SonoforgeError, match=message) as error:
        open_space(choice, squeezenet_file if weights == "FILE" else weights)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "images", [np.zeros((0, 8, 8, 1), np.uint8), np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 1))]
)
def test_what_is_no_set_of_images_is_refused(images: Any) -> None:
    with pytest.raises(ValueError, match=r"must be uint8 \(N, S, S, 1\)"):
        open_space("pixels").embed(images)


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

"""ONNX files in half precision, and with the preprocessing in them; the operators of all that are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from bundle_factory import model_bytes, scan
from generator_checkpoints import CASES, SLOW_CASES, ExportedGenerator
from sonoforge.export.formats.half_precision import to_half
from sonoforge.export.formats.onnx_graph import with_preprocessing
from sonoforge.export.formats.table import HALF
from sonoforge.runtime.bundle.onnx_graph import OPERATORS, check_graph, operators
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.runtime.inference.onnx_session import open_file, session_options

PREPROCESSING = open_bundle().manifest.preprocessing


@pytest.fixture(scope="module")
def model() -> bytes:
    return (SHIPPED / "model.onnx").read_bytes()


@pytest.fixture(scope="module")
def half(model: bytes) -> bytes:
    return to_half(model)


def test_weights_are_the_float32_ones_rounded_once_and_the_interface_stays_float32(model: bytes, half: bytes) -> None:
    before = {t.name: numpy_helper.to_array(t) for t in onnx.load_model_from_string(model).graph.initializer}
    changed = onnx.load_model_from_string(half)
    after = {t.name: numpy_helper.to_array(t) for t in changed.graph.initializer}
    weights = [name for name in before if before[name].ndim == 4]
    assert len(weights) == 54  # MobileNetV2's 52 convolutions, those of the outline and of the map
    for name in weights:
        # The converter lifts what would vanish in 16 bits to 1e-7.
        assert np.allclose(after[name], before[name].astype(np.float16), rtol=0, atol=1.2e-7)
        assert after[name].dtype == np.float16
    for item in (*changed.graph.input, *changed.graph.output):
        assert item.type.tensor_type.elem_type == TensorProto.FLOAT
    assert len(half) < 0.53 * len(model)


def test_real_images_keep_their_labels_and_probabilities(model: bytes, tmp_path: Path, shared: Path) -> None:
    (tmp_path / "half.onnx").write_bytes(to_half(model, 40))  # what chooses the window stays in float32
    files = sorted(path for path in (shared / "data" / "BUSI").rglob("*.png") if "mask" not in path.name)[::16]
    inputs = PREPROCESSING.normalise(np.stack([PREPROCESSING.resize(read_image(path)) for path in files]))
    exact = open_file(SHIPPED / "model.onnx")([inputs])[1]
    rounded = open_file(tmp_path / "half.onnx")([inputs])[1]
    assert np.abs(exact - rounded).max() <= HALF.of_passes(True).probability
    assert (exact.argmax(1) == rounded.argmax(1)).all()


FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def session(model: bytes) -> onnxruntime.InferenceSession:
    """Open a file with two more outputs: the resized levels and the network's input."""
    proto = onnx.load_model_from_string(model)
    levels = helper.make_tensor_value_info("preprocessing.small", TensorProto.UINT8, None)
    proto.graph.output.extend([levels, helper.make_tensor_value_info("input", TensorProto.FLOAT, None)])
    return onnxruntime.InferenceSession(proto.SerializeToString(), session_options(threads=1))


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.atleast_3d(np.asarray(image))[None]


def two_passes(image: Image.Image, side: int, resample: str) -> NDArray[np.uint8]:
    """Pillow, rows first, whatever order its version would choose: (S, S, C)."""
    rows = image.resize((side, image.height), FILTERS[resample])
    return np.atleast_3d(np.asarray(rows.resize((side, side), FILTERS[resample])))


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(120, 90), (40, 50), (64, 64), (700, 500), (90, 300), (1, 1)])
def test_levels_are_pillows_but_for_one_level_in_few_pixels(size: tuple[int, int], resample: str) -> None:
    how = Preprocessing(size=64, resample=resample)
    opened = session(with_preprocessing(model_bytes(), how))
    grey = Image.fromarray(scan(3, *size))
    colour = Image.merge("RGB", [Image.fromarray(scan(seed, *size)) for seed in range(3)])
    for image in (grey, colour):
        (levels,) = opened.run(["preprocessing.small"], {"pixels": pixels(image)})
        difference = np.abs(levels[0].astype(int) - two_passes(image, 64, resample))
        assert difference.max() <= 1 and (difference > 0).mean() <= 0.02


def test_the_same_levels_give_the_same_bits_as_on_the_host() -> None:
    how = Preprocessing(size=64)
    opened = session(with_preprocessing(model_bytes(), how))
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)  # already as small as needed
    (inputs,) = opened.run(["input"], {"pixels": image[None]})
    assert np.array_equal(inputs, how.normalise(image[None]))


def test_grey_answers_as_the_same_picture_in_colour_and_batches_as_their_images() -> None:
    opened = session(with_preprocessing(model_bytes(), Preprocessing(size=64)))
    grey = [pixels(Image.fromarray(scan(seed))) for seed in range(3)]
    alone = [opened.run(["logits"], {"pixels": image})[0] for image in grey]
    colour = [opened.run(["logits"], {"pixels": np.repeat(image, 3, axis=3)})[0] for image in grey]
    together = opened.run(["logits"], {"pixels": np.concatenate(grey)})[0]
    assert np.array_equal(alone, colour)
    assert np.abs(np.concatenate(alone) - together).max() < 1e-5


@pytest.mark.parametrize("channels", [2, 4])
def test_an_alpha_channel_is_not_taken_for_a_colour(channels: int, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(with_preprocessing(model_bytes(), Preprocessing(size=64)))
    answer = open_file(tmp_path / "a.onnx")
    with pytest.raises(Exception, match=r"(?i)broadcast"):
        answer([np.zeros((1, 80, 80, channels), np.uint8)])


def test_real_images_get_the_answers_of_the_host(model: bytes, shared: Path) -> None:
    """Every 24th BUSI image, and the tall ones, which Pillow from 13 on would resize in the other order."""
    opened = session(with_preprocessing(model, PREPROCESSING))
    plain = onnxruntime.InferenceSession(model, session_options(threads=1))
    files = sorted(path for path in (shared / "data" / "BUSI").rglob("*.png") if "mask" not in path.name)
    shares, tall = [], 0
    for index, path in enumerate(files):
        width, height = Image.open(path).size
        if index % 24 and height < 1.35 * width:
            continue
        tall += height >= 1.35 * width
        image = read_image(path)
        levels, probabilities = opened.run(["preprocessing.small", "probabilities"], {"pixels": pixels(image)})
        expected = PREPROCESSING.resize(image)
        (answer,) = plain.run(["probabilities"], {"input": PREPROCESSING.normalise(expected[None])})
        difference = np.abs(levels[0].astype(int) - expected[..., : levels.shape[3]])
        assert difference.max() <= 1
        shares.append((difference > 0).mean())
        assert np.abs(answer - probabilities).max() <= 1e-2
    assert tall == 10 and len(shares) > 40
    assert max(shares) <= 0.02 and np.median(shares) <= 0.001


OF_OTHER_NETWORKS = {
    *("Exp", "Flatten", "Gelu", "GlobalAveragePool", "GroupNormalization", "HardSigmoid", "HardSwish"),
    *("LayerNormalization", "Log", "PRelu", "Softplus"),
}
"""Pooling, norms and activations of networks that users bring, see ``test_own_backbone.py``."""


@pytest.mark.slow
def test_the_list_of_operators_is_what_exports_of_all_kinds_hold(
    generators: Callable[..., ExportedGenerator], model: bytes, shipped_int8: bytes, single_look: bytes
) -> None:
    files = [model, to_half(model), shipped_int8, with_preprocessing(model, PREPROCESSING), single_look]
    for recipe, classes, masks, formats in CASES + SLOW_CASES:
        made = generators(recipe, classes, formats, masks)
        files += [path.read_bytes() for path in sorted(made.bundle.glob("*.onnx"))]
    for content in files:
        check_graph(content, "model.onnx")
    held = {name for content in files for name in operators(content)}
    assert held <= OPERATORS and OPERATORS - held == OF_OTHER_NETWORKS

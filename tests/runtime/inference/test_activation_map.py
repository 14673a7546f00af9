"""The map at a scan's size and its two numbers, against Pillow's resize, closed forms and the network's logit."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sonoforge.runtime import Classifier
from sonoforge.runtime.images import scan_metrics
from sonoforge.runtime.inference import activation_map

MAP = np.random.default_rng(0).normal(1, 3, (7, 7)).astype(np.float32)


@pytest.mark.parametrize(("width", "height"), [(562, 471), (7, 700), (224, 224), (1000, 16)])
def test_at_size_is_a_bilinear_resize(width: int, height: int) -> None:
    expected = np.asarray(Image.fromarray(MAP).resize((width, height), Image.Resampling.BILINEAR))
    found = activation_map.at_size(MAP, width, height)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(("width", "height"), [(562, 471), (70, 700), (21, 16)])
@pytest.mark.parametrize("cell", [(0, 0), (3, 5), (6, 6)])
def test_peak_lies_where_the_enlarged_map_is_highest(width: int, height: int, cell: tuple[int, int]) -> None:
    values = MAP.copy()
    values[cell] = 20
    x, y, value = activation_map.peak(values, width, height)
    enlarged = activation_map.at_size(values, width, height)
    assert enlarged[y, x] >= 0.9 * enlarged.max() or min(width, height) < 70  # so few pixels miss a cell's centre
    assert (int(y * 7 / height), int(x * 7 / width)) == cell
    assert value == 20


def test_share_of_maps_known_in_closed_form() -> None:
    assert activation_map.share_in_brightest(np.full((7, 7), 2, np.float32)) == pytest.approx(0.1)
    # A ramp along x is 0 to 1 between the outer centres and flat beyond: its last tenth of the width lies within the
    # last fourteenth that is flat at 1, and a strip of 1/10 - 1/14 just before it with slope 7/6.
    ramp = np.tile(np.linspace(0, 1, 7, dtype=np.float32), (7, 1))
    strip = 1 / 10 - 1 / 14
    expected = (1 / 14 + strip * (1 - strip * 7 / 12)) / 0.5
    assert activation_map.share_in_brightest(ramp) == pytest.approx(expected, abs=2e-3)
    one = np.zeros((7, 7), np.float32)
    one[3, 3] = 5  # reaches over 2 x 2 of 7 x 7 cells, 8.2 % of the area
    assert activation_map.share_in_brightest(one) == pytest.approx(1)
    assert activation_map.share_in_brightest(-np.ones((7, 7), np.float32)) is None


def test_maps_of_the_shipped_network_sum_to_its_logits() -> None:
    """CVPR 2016, equation 2: the differences of the means of two maps are those of the logits, less the biases'."""
    classifier = Classifier()
    pixels = classifier.bundle.golden()["pixels"]
    answers = classifier.predict(pixels)
    rest = answers["logits"] - answers["cam"].mean(axis=(2, 3))
    np.testing.assert_allclose(rest, np.broadcast_to(rest[0], rest.shape), atol=1e-3)


def test_a_result_tells_its_map_in_pixels_of_the_scan() -> None:
    pixels = np.random.default_rng(1).integers(0, 200, (301, 402), dtype=np.uint8)
    classifier = Classifier()
    result, side = classifier.classify(pixels), classifier.bundle.manifest.preprocessing.size
    on_scan = result.map_on_scan()
    assert on_scan.shape == (301, 402)
    told = result.to_dict()["map"]
    assert told["peak"] == {"x": result.peak.x, "y": result.peak.y, "value": float(result.map.max())}
    assert on_scan[result.peak.y, result.peak.x] == pytest.approx(on_scan.max(), rel=0.03)
    assert 0.1 <= told["share_in_brightest_tenth"] <= 1
    # gCNR of the map's area by the definition: in the network's view, of the tenth from the limit of the brightest on.
    view = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))
    area = activation_map.at_size(result.map, side, side) >= activation_map.limit_of_brightest(result.map)
    assert area.mean() == pytest.approx(0.1, abs=0.01)
    assert told["gcnr_of_map_area"] == pytest.approx(scan_metrics.gcnr(view, area), abs=0.01)

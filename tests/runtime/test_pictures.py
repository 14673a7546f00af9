"""The map of an answer at the scan's size, and the picture of it: what is drawn where, words that fit, marks, names."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import bundle_factory as factory
from program import refused, sonoforge
from sonoforge.runtime import Classifier, Result, draw_overlay
from sonoforge.runtime import explanations as overlay
from sonoforge.runtime.explanations import heat
from sonoforge.runtime.images import scan_metrics
from sonoforge.runtime.inference import activation_map
from sonoforge.training.phantom.dataset import generate_phantom_set


def answer(classifier: Classifier, pixels: np.ndarray, hot: tuple[int, int] | None = (1, 2)) -> Result:
    """The answer with a map of 8 x 8 cells of which one is positive, or none."""
    values = np.full((8, 8), -1, np.float32)
    if hot:
        values[hot] = 6
    return dataclasses.replace(classifier.classify(pixels), map=values)


def cielab(colours: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* (D65) of (N, 3) uint8 sRGB, by CIE 15: another space than the one the colours were made in."""
    c = colours / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    ratio = linear @ to_xyz.T / to_xyz.sum(axis=1)
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def test_colours_rise_in_lightness_by_steps_that_look_equal() -> None:
    lab = cielab(heat()[::15])
    lightness, steps = np.diff(lab[:, 0]), np.linalg.norm(np.diff(lab, axis=0), axis=1)
    # The same of matplotlib's tables: viridis 1.3 and 2.1; hot 49 and 8.4; jet is not monotonic.
    assert lightness.min() > 0 and lightness.max() / lightness.min() < 1.5
    assert steps.max() / steps.min() < 2.5


def test_the_scan_is_painted_where_the_map_is_and_left_alone_where_not(classifier: Classifier) -> None:
    scan = factory.scan(1, 480, 320)
    picture = np.asarray(draw_overlay(scan, answer(classifier, scan)))
    assert picture.shape[1] == 480 and picture.shape[0] > 320
    changed = (picture[:320] != scan[..., None]).any(axis=2)
    rows, columns = np.nonzero(changed)
    # The hot cell reaches from the centre of the one before it to that of the one after: cells of 60 x 40 pixels.
    assert rows.min() >= 20 and rows.max() < 100 and columns.min() >= 90 and columns.max() < 210
    middle = picture[60, 150].astype(int)
    assert middle[0] > middle[2] + 40  # yellow over grey
    white = (picture[:320] == 255).all(axis=2)
    assert white[20:100, 90:210].sum() > 100 and not white[50:70, 130:170].any()


def test_a_map_that_is_positive_nowhere_paints_nothing_and_another_scan_is_refused(classifier: Classifier) -> None:
    scan = factory.scan(1, 480, 320)
    result = answer(classifier, scan, None)
    assert np.array_equal(np.asarray(draw_overlay(scan, result))[:320], np.repeat(scan[..., None], 3, axis=2))
    assert f"no evidence for {result.label} anywhere" in " ".join(overlay.caption(result))
    with pytest.raises(ValueError, match=r"\(120, 90\)"):
        draw_overlay(factory.scan(1), result)


@pytest.mark.parametrize("size", [(16, 16), (60, 400), (333, 20), (1600, 90), (480, 320)])
def test_every_word_fits_at_any_size(
    classifier: Classifier, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    text = ImageDraw.ImageDraw.text

    def spy(self: ImageDraw.ImageDraw, at: tuple[float, float], words: str, ink: object, font: Any) -> None:
        left, top, right, bottom = self.textbbox(at, words, font=font)
        width, height = self.im.size
        assert left >= 0 and right <= width and size[1] <= top and bottom <= height
        drawn.append(words)
        text(self, at, words, ink, font)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", spy)
    scan = factory.scan(2, 480, 320)
    pixels = np.asarray(Image.fromarray(scan).resize(size))
    result = dataclasses.replace(answer(classifier, pixels), label="a" * 90, probabilities={"a" * 90: 1.0})
    picture = draw_overlay(pixels, result)
    assert picture.width == max(size[0], 260)
    assert "".join("".join(drawn[2:]).split()) == "".join("".join(overlay.caption(result)).split())


def test_the_file_says_that_it_is_derived_and_by_which_model(classifier: Classifier) -> None:
    scan = factory.scan(1)
    result = classifier.classify(scan)
    text = Image.open(io.BytesIO(overlay.png(draw_overlay(scan, result), result))).text
    assert text["sonoforge:model_sha256"] == classifier.model["sha256"]
    assert text["sonoforge:model_name"] == classifier.model["name"]
    assert text["Description"].startswith("Derived picture, not a scan")
    assert "not a medical device" in text["Description"]


def test_the_command_draws_each_scan_and_names_the_pictures(classifier: Classifier, tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        Image.fromarray(factory.scan(len(place))).save(tmp_path / place / "scan.png")
    (tmp_path / "two" / "bad.png").write_bytes(b"junk")
    arguments = (tmp_path / "one", tmp_path / "two", "--overlay", tmp_path / "pictures")
    for _ in range(2):  # a second time, its own pictures are replaced
        done = sonoforge("classify", *arguments, "--bundle", classifier.bundle.path, "--json")
        assert done.code == 2
        drawn = [result.get("overlay") for result in done.json["results"]]
        assert [path and Path(path).name for path in drawn] == ["scan-overlay.png", None, "scan-2-overlay.png"]
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"scan-overlay.png", "scan-2-overlay.png"}
    with Image.open(drawn[0]) as picture:
        assert picture.width == 260


def test_a_file_of_another_origin_is_never_replaced(classifier: Classifier, tmp_path: Path) -> None:
    Image.fromarray(factory.scan(1)).save(tmp_path / "x.png")
    Image.fromarray(factory.scan(2)).save(tmp_path / "x-overlay.png")
    before = (tmp_path / "x-overlay.png").read_bytes()
    command = ("classify", tmp_path / "x.png", "--overlay", tmp_path, "--bundle", classifier.bundle.path)
    assert "is not an overlay" in refused(*command)
    assert (tmp_path / "x-overlay.png").read_bytes() == before


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
    (scan,) = generate_phantom_set(1, 0, 301)
    pixels = np.asarray(Image.fromarray(scan.pixels).resize((402, 301)))
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

"""DICOM as pictures: against pydicom's own pixels, levels computed anew, untrue headers and damage."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom import uid
from pydicom.datadict import DicomDictionary, dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.tag import Tag

from dicom_files import (
    PLANTED,
    claiming,
    colour_scan,
    data_set,
    groups,
    palette,
    plant,
    region,
    rescale,
    save,
    scan,
    window,
    with_jpeg,
)
from program import sonoforge
from sonoforge.runtime.images import file_kinds, limits
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.dicom.reader import DicomImage, open_dicom
from sonoforge.runtime.images.limits import ImageError

SHIPPED = sorted(path for path in Path(pydicom.data.__file__).parent.rglob("*") if path.is_file())


def pictures(path: Path | DicomImage) -> np.ndarray:
    image = path if isinstance(path, DicomImage) else open_dicom(path)
    return np.stack([np.asarray(frame) for frame in image.frames()])


# ---- transfer syntaxes and interpretations


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL"])
@pytest.mark.parametrize(
    "syntax",
    [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless],
)
@pytest.mark.parametrize("frames", [1, 3])
def test_lossless_files_give_pydicom_s_pixels(tmp_path: Path, photometric: str, syntax: uid.UID, frames: int) -> None:
    grey = photometric.startswith("MONO")
    if photometric == "YBR_FULL" and syntax == uid.JPEG2000Lossless:
        pytest.skip("pydicom's encoder takes no YBR_FULL")
    pixels = scan(frames) if grey else colour_scan(frames)
    file = data_set(pixels, photometric)
    if syntax.is_encapsulated:
        file.compress(syntax, generate_instance_uid=False)
    path = save(file, tmp_path / "x.dcm", syntax)
    expected = pydicom.dcmread(path).pixel_array.reshape(pixels.shape)
    if photometric != "YBR_FULL":
        np.testing.assert_array_equal(expected, pixels)
    np.testing.assert_array_equal(pictures(path), 255 - expected if photometric == "MONOCHROME1" else expected)


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "YBR_FULL_422", "RGB"])
def test_lossy_files_give_pydicom_s_pixels(tmp_path: Path, photometric: str) -> None:
    pixels = scan(2) if photometric == "MONOCHROME2" else colour_scan(2)
    options = {"keep_rgb": True} if photometric == "RGB" else {}
    path = save(with_jpeg(data_set(pixels, photometric), pixels, **options), tmp_path / "x.dcm")
    got = pictures(path)
    np.testing.assert_array_equal(got, pydicom.dcmread(path).pixel_array)
    assert np.abs(got.astype(int) - pixels).mean() < (25 if photometric == "YBR_FULL_422" else 8)  # and it is the scan
    file = data_set(pixels, photometric if photometric != "YBR_FULL_422" else "RGB")
    file.compress(uid.JPEG2000, generate_instance_uid=False, j2k_cr=[5])
    path = save(file, tmp_path / "y.dcm")
    np.testing.assert_array_equal(pictures(path), pydicom.dcmread(path).pixel_array)


@pytest.mark.parametrize(
    ("stored", "filled", "shown"),
    [(8, 8, 8), (12, 12, 12), (16, 16, 16), (16, 12, 12), (16, 14, 14), (12, 8, 8), (12, 10, 12)],
)
@pytest.mark.parametrize("signed", [False, True])
def test_levels_fill_the_bits_that_the_values_of_all_frames_do(
    tmp_path: Path, stored: int, filled: int, shown: int, signed: bool
) -> None:
    def span(bits: int) -> tuple[int, int]:
        return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)

    kind = f"{'i' if signed else 'u'}{1 if stored == 8 else 2}"
    values = np.linspace(*span(filled), 2 * 48 * 64).round().astype(kind).reshape(2, 48, 64)
    image = open_dicom(save(data_set(values, BitsStored=stored), tmp_path / "x.dcm"))
    low, high = span(shown)
    found = pictures(image)
    assert np.abs(found - (values.astype(float) - low) * 255 / (high - low)).max() <= 0.51 * (stored != 8)
    assert bool(image.remarks) == (shown < stored)
    assert filled < shown or (found.min(), found.max()) == (0, 255)


def test_the_first_window_is_applied_after_rescaling(tmp_path: Path) -> None:
    stored = np.arange(48 * 64, dtype=np.uint16).reshape(1, 48, 64)
    elements = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": [500, 9], "WindowWidth": [1000, 9]}
    path = save(data_set(stored, BitsStored=12, **elements), tmp_path / "x.dcm")
    value = 2.0 * stored - 1000  # PS3.3, C.11.2.1.2.1, by hand
    expected = np.clip(((value - 499.5) / 999 + 0.5) * 255, 0, 255)
    assert np.abs(pictures(path) - expected).max() <= 0.51
    inverted = save(data_set(stored, "MONOCHROME1", BitsStored=12, **elements), tmp_path / "y.dcm")
    np.testing.assert_array_equal(pictures(inverted), 255 - pictures(path))


def table(descriptor: list[int], data: bytes) -> Dataset:
    """A table of levels."""
    item = Dataset()
    item.LUTDescriptor, item.LUTData = descriptor, data
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    return item


@pytest.mark.parametrize(("place", "bits"), [("ModalityLUTSequence", 16), ("VOILUTSequence", 12)])
def test_tables_are_applied(tmp_path: Path, place: str, bits: int) -> None:
    levels = (np.arange(256) ** 2 >> 16 - bits).astype(np.uint16)
    item = table([256, 0, bits], levels.tobytes())
    if place == "ModalityLUTSequence":
        item.ModalityLUTType = "US"
    stored = scan()
    path = save(data_set(stored, **{place: [item]}), tmp_path / "x.dcm")
    assert np.abs(pictures(path) - levels[stored] * 255.0 / (2**bits - 1)).max() <= 0.51


# ---- enhanced objects: rescaling and windows in functional groups, PS3.3, C.7.6.16


def spread(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((values.astype(float) - low) * 255 / (high - low), 0, 255)


def by_hand(value: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """PS3.3, C.11.2.1.2.1 and C.11.2.1.3, pixel by pixel, for an output of 0 to 255."""

    def level(x: float) -> float:
        if function == "SIGMOID":
            return 255 / (1 + np.exp(min(-4 * (x - centre) / width, 700)))
        c, w = (centre, width) if function == "LINEAR_EXACT" else (centre - 0.5, width - 1)
        if x <= c - w / 2:
            return 0
        return 255 if x > c + w / 2 else ((x - c) / w + 0.5) * 255

    return np.vectorize(level, otypes=[float])(value)


@pytest.mark.parametrize(
    "of_frames",
    [
        [(1, 0), (4, 0)],
        [(1, 0), (4, 0), (0.5, 0)],
        [(1, -100), (1, 100)],
        [(-1, 0), (-4, 0)],
    ],
)
def test_frames_of_different_slopes_are_shown_over_one_range(
    tmp_path: Path, of_frames: list[tuple[float, float]]
) -> None:
    real = (scan()[0].astype(float) * 3).round() + 200  # what all frames show
    stored = np.stack([((real - intercept) / slope).round() for slope, intercept in of_frames])
    back = np.stack([frame * slope + intercept for frame, (slope, intercept) in zip(stored, of_frames, strict=True)])
    kind = "<i2" if stored.min() < 0 else "<u2"
    items = [groups(rescale=rescale(*one)) for one in of_frames]
    file = data_set(stored.astype(kind), BitsStored=12, PerFrameFunctionalGroupsSequence=items)
    image = open_dicom(save(file, tmp_path / "x.dcm"))
    found = pictures(image)
    ends = (-2048, 2047) if kind == "<i2" else (0, 4095)
    ranges = [sorted(end * slope + intercept for end in ends) for slope, intercept in of_frames]
    holding = [one for one in ranges if one[0] <= back.min() and back.max() <= one[1]]
    low, high = min(holding, key=lambda one: one[1] - one[0])
    assert np.abs(found - spread(back, low, high)).max() <= 0.51
    assert image.passed_over == ()


def test_slopes_of_which_each_frame_needs_its_own_share_a_range_that_holds_all(tmp_path: Path) -> None:
    stored = np.stack([np.full((48, 64), 4000), np.full((48, 64), 50)]).astype("<u2")
    items = [groups(rescale=rescale(1, -5000)), groups(rescale=rescale(1, 5000))]
    file = data_set(stored, BitsStored=12, PerFrameFunctionalGroupsSequence=items)
    expected = spread(np.array([4000 - 5000, 50 + 5000]), -5000, 4095 + 5000)
    assert np.abs(pictures(save(file, tmp_path / "x.dcm"))[:, 0, 0] - expected).max() <= 0.51


@pytest.mark.parametrize("function", ["", "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("width", [1, 2, 300.5])
@pytest.mark.parametrize("place", ["file", "shared", "frame", "all"])
def test_windows_are_those_of_the_standard_wherever_they_are(
    tmp_path: Path, function: str, width: float, place: str
) -> None:
    stored = np.arange(2 * 48 * 64, dtype="<u2").reshape(2, 48, 64) % 4096
    own, other = window(1000, width, function), window(7, 9, "SIGMOID")
    elements: dict[str, object] = own if place == "file" else other if place == "all" else {}
    if place != "file":
        elements = {**elements, "SharedFunctionalGroupsSequence": [groups(own if place == "shared" else other)]}
    if place in ("frame", "all"):
        elements["PerFrameFunctionalGroupsSequence"] = [groups(own), groups(window(2000, 500))]
    found = pictures(save(data_set(stored, BitsStored=12, **elements), tmp_path / "x.dcm"))
    assert np.abs(found[0] - by_hand(stored[0], 1000, width, function)).max() <= 0.51
    second = (2000, 500, "") if place in ("frame", "all") else (1000, width, function)
    assert np.abs(found[1] - by_hand(stored[1], *second)).max() <= 0.51


def test_a_frame_takes_each_step_from_itself_or_else_from_the_shared_groups(tmp_path: Path) -> None:
    stored = np.arange(2 * 48 * 64, dtype="<u2").reshape(2, 48, 64) % 4096
    shared = groups(window(500, 800), rescale(2, -1000))
    items = [groups(rescale=rescale(0.5)), groups(rescale=rescale(3, 10))]
    for syntax in (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian):
        elements = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": items}
        found = pictures(save(data_set(stored, BitsStored=12, **elements), tmp_path / "x.dcm", syntax))
        for frame, (slope, intercept) in enumerate([(0.5, 0), (3, 10)]):
            expected = by_hand(stored[frame] * slope + intercept, 500, 800, "LINEAR")
            assert np.abs(found[frame] - expected).max() <= 0.51


@pytest.mark.parametrize("items", [1, 2])
def test_frames_without_groups_are_shown_as_the_file_says_and_that_is_said(tmp_path: Path, items: int) -> None:
    stored = grey16(3)
    groups_of = [groups(window(1000, 400)), groups()][:items]
    image = open_dicom(
        save(data_set(stored, BitsStored=12, PerFrameFunctionalGroupsSequence=groups_of), tmp_path / "x.dcm")
    )
    assert image.passed_over == ("PerFrameFunctionalGroupsSequence",)
    found = pictures(image)
    assert np.abs(found[0] - by_hand(stored[0], 1000, 400, "")).max() <= 0.51
    assert np.abs(found[1:] - spread(stored[1:], 0, 4095)).max() <= 0.51


@pytest.mark.parametrize(
    "damaged", [window(9, 0), window(9, 0, "SIGMOID"), {"WindowCenter": 9}, {"VOILUTFunction": "Q", **window(9, 0)}]
)
def test_a_damaged_window_of_a_frame_is_passed_over_and_named(tmp_path: Path, damaged: dict[str, object]) -> None:
    stored = grey16(2)
    items = [groups(damaged), groups(window(1000, 400))]
    image = open_dicom(
        save(data_set(stored, BitsStored=12, PerFrameFunctionalGroupsSequence=items), tmp_path / "x.dcm")
    )
    assert ("WindowWidth" in image.passed_over) == ("WindowWidth" in damaged)
    found = pictures(image)
    assert np.abs(found[0] - spread(stored[0], 0, 4095)).max() <= 0.51
    assert np.abs(found[1] - by_hand(stored[1], 1000, 400, "")).max() <= 0.51


def test_a_frame_may_have_a_table_of_its_own(tmp_path: Path) -> None:
    stored, rng = scan(2), np.random.default_rng(0)
    tables = rng.integers(0, 4096, (2, 256)).astype("<u2")
    items = [groups({"VOILUTSequence": [table([256, 0, 12], one.tobytes())]}) for one in tables]
    found = pictures(save(data_set(stored, PerFrameFunctionalGroupsSequence=items), tmp_path / "x.dcm"))
    for frame, one in enumerate(tables):
        assert np.abs(found[frame] - spread(one[stored[frame]], 0, 4095)).max() <= 0.51


def test_a_slope_alone_is_applied_before_the_window_and_sizes_of_pixels_are_read_from_groups(tmp_path: Path) -> None:
    stored, measures = grey16(), groups(window(1000, 400), {"RescaleSlope": 2})
    measures.PixelMeasuresSequence = [Dataset()]
    measures.PixelMeasuresSequence[0].PixelSpacing = [0.1, 0.2]
    image = open_dicom(
        save(data_set(stored, BitsStored=12, SharedFunctionalGroupsSequence=[measures]), tmp_path / "x.dcm")
    )
    assert np.abs(pictures(image) - by_hand(stored * 2.0, 1000, 400, "")).max() <= 0.51
    assert image.spacing is not None and image.spacing[:2] == (0.1, 0.2) and image.passed_over == ()


# ---- tables of levels and of colours, PS3.3, C.11.1.1, C.11.2.1.1, C.7.6.3.1.5-6 and C.7.9.2


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize(("count", "first"), [(4096, 0), (1000, 500), (2000, -700), (0, -32768)])
@pytest.mark.parametrize("place", ["ModalityLUTSequence", "VOILUTSequence"])
def test_tables_of_8_bits_are_read_from_bytes_and_from_words(
    tmp_path: Path, place: str, count: int, first: int, words: bool
) -> None:
    entries = np.random.default_rng(count).integers(0, 256, count or 65536).astype("<u2" if words else "u1")
    item = table([count, first & 0xFFFF, 8], entries.tobytes())
    item.ModalityLUTType = "US"
    stored = (np.arange(48 * 64) * 2 - 1000 if first < 0 else np.arange(48 * 64)).reshape(1, 48, 64)
    path = save(data_set(stored.astype("<i2" if first < 0 else "<u2"), **{place: [item]}), tmp_path / "x.dcm")
    np.testing.assert_array_equal(pictures(path), entries[np.clip(stored - first, 0, len(entries) - 1)])


FORMS = {  # descriptor's bits, and 8-bit values as stored in words or bytes
    "bytes": (8, lambda values: values.astype("u1")),
    "low bytes": (8, lambda values: values.astype("<u2")),
    "high bytes": (8, lambda values: (values * 256).astype("<u2")),
    "both bytes": (8, lambda values: (values * 257).astype("<u2")),
    "16 bits of 0 to 255": (16, lambda values: values.astype("<u2")),
    "16 bits": (16, lambda values: (values * 257).astype("<u2")),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("count", "first"), [(256, 0), (255, 0), (100, 50), (200, -70), (0, 0), (0, -32768)])
def test_palettes_give_their_colours_however_entries_are_stored(
    tmp_path: Path, form: str, count: int, first: int
) -> None:
    bits, written = FORMS[form]
    colours = np.random.default_rng(count).integers(0, 256, (3, count or 65536))
    colours[:, 0] = 255, 1, 0
    stored = scan().astype("<u2") if first >= 0 else scan().astype("<i2") - 100
    expected = colours.T[np.clip(stored.astype(int) - first, 0, colours.shape[1] - 1)]
    file = data_set(stored, "PALETTE COLOR", **palette(written(colours), (count, first, bits)))
    path = save(file, tmp_path / "x.dcm")
    np.testing.assert_array_equal(pictures(path), expected)
    for name in ("Red", "Green", "Blue") if first < 0 else ():  # as some writers state it
        file[f"{name}PaletteColorLookupTableDescriptor"].VR = "US"
        file[f"{name}PaletteColorLookupTableDescriptor"].value = [count, first & 0xFFFF, bits]
    np.testing.assert_array_equal(pictures(save(file, tmp_path / "y.dcm")), expected)
    if form in ("bytes", "16 bits") and count == 256:  # where pydicom is right
        shown = apply_color_lut(stored, pydicom.dcmread(path))
        np.testing.assert_array_equal(shown / (257 if bits == 16 else 1), expected)


def test_palette_colours_of_16_and_12_bits_are_rounded(tmp_path: Path) -> None:
    for bits in (16, 12):
        tables = np.random.default_rng(1).integers(0, 2**bits, (3, 256)).astype("<u2")
        file = data_set(scan(), "PALETTE COLOR", **palette(tables, (256, 0, bits)))
        expected = tables.T[scan()] * 255.0 / (2**bits - 1)
        assert np.abs(pictures(save(file, tmp_path / "x.dcm")) - expected).max() <= 0.51


DISCRETE, LINEAR, INDIRECT = 0, 1, 2
SEGMENTS = [DISCRETE, 3, 10, 0, 200, LINEAR, 100, 7, DISCRETE, 2, 255, 0, LINEAR, 40, 90]


def expanded(count: int = 256) -> np.ndarray:
    """`SEGMENTS`, then its second and third segment again, then a line."""
    parts = [np.array([10, 0, 200]), np.linspace(200, 7, 101)[1:], np.array([255, 0]), np.linspace(0, 90, 41)[1:]]
    parts += [np.linspace(90, 7, 101)[1:], np.array([255, 0])]
    left = count - sum(map(len, parts))
    return np.rint(np.concatenate([*parts, np.linspace(0, 77, left + 1)[1:]])).astype(int)


@pytest.mark.parametrize("offset", ["bytes", "words"])
@pytest.mark.parametrize(("bits", "kind"), [(8, "u1"), (8, "<u2"), (16, "<u2")])
def test_segmented_palettes_are_expanded(tmp_path: Path, bits: int, kind: str, offset: str) -> None:
    at = 5 * (2 if kind == "<u2" and offset == "bytes" else 1)
    low = [at, 0, 0, 0] if kind == "u1" else [at, 0]
    codes = np.array([*SEGMENTS, INDIRECT, 2, *low, LINEAR, 256 - 247, 77])
    tables = np.stack([codes] * 3).astype(kind)
    file = data_set(scan(), "PALETTE COLOR", **palette(tables, (256, 0, bits), segmented=True))
    expected = expanded()[scan()]
    np.testing.assert_array_equal(pictures(save(file, tmp_path / "x.dcm")), np.stack([expected] * 3, -1))


def test_well_known_palettes_are_those_of_pydicom(tmp_path: Path) -> None:
    for name in ("spring", "summer", "fall", "winter", "hotiron", "pet"):
        (source,) = pydicom.data.get_palette_files(f"{name}.dcm")
        read = pydicom.dcmread(source)
        own = {element.keyword: element.value for element in read if "Palette" in element.keyword}
        file = data_set(scan(), "PALETTE COLOR", **{key: value for key, value in own.items() if "UID" not in key})
        np.testing.assert_array_equal(pictures(save(file, tmp_path / "x.dcm")), apply_color_lut(scan(), read))


@pytest.mark.parametrize(
    "codes",
    [
        [LINEAR, 9, 9],
        [INDIRECT, 1, 0, 0],
        [DISCRETE, 1, 9, INDIRECT, 1, 6, 0],  # repeats itself
        [DISCRETE, 0] * 40_000,
        [DISCRETE, 1, 9, INDIRECT, 0, 0, 0],
        [DISCRETE, 1, 9, *[LINEAR, 65535, 9] * 100_000],
        [DISCRETE, 1, 9, 5, 1, 1],
        [DISCRETE, 200, 9],
        [],
    ],
)
def test_damaged_segments_are_refused_in_one_line_at_once(tmp_path: Path, codes: list[int]) -> None:
    tables = np.stack([np.array(codes, "<u2")] * 3)
    file = data_set(scan(), "PALETTE COLOR", **palette(tables, (256, 0, 16), segmented=True))
    begun = time.process_time()
    assert one_line(save(file, tmp_path / "x.dcm")).code == "truncated"
    assert time.process_time() - begun < 5


# ---- what the machine says of the picture


def test_the_largest_tissue_region_is_cut_out_with_its_spacing(tmp_path: Path) -> None:
    regions = [region((0, 0, 20, 20)), region((0, 0, 63, 47), data_type=3), region((10, 5, 63, 40), delta=0.02)]
    pixels = scan(2)
    file = data_set(pixels, SequenceOfUltrasoundRegions=regions, PixelSpacing=[9, 9], FrameTime=40)
    image = open_dicom(save(file, tmp_path / "x.dcm"))
    assert image.region is not None and image.region.box == (10, 5, 64, 41) and image.region.count == 2
    assert image.spacing is not None and image.spacing.source == "region"
    assert (image.spacing.vertical, image.spacing.horizontal) == pytest.approx((0.4, 0.2))
    assert image.frame_time_ms == 40
    np.testing.assert_array_equal(pictures(image), pixels[:, 5:41, 10:64])


@pytest.mark.parametrize("name", ["PixelSpacing", "ImagerPixelSpacing"])
def test_spacing_without_regions(tmp_path: Path, name: str) -> None:
    image = open_dicom(save(data_set(scan(), CineRate=25, **{name: [0.1, 0.2]}), tmp_path / "x.dcm"))
    assert image.region is None and image.spacing is not None and image.frame_time_ms == 40
    assert (image.spacing.vertical, image.spacing.horizontal, image.spacing.source) == (0.1, 0.2, name)


def test_a_region_is_clipped_and_a_tiny_one_ignored(tmp_path: Path) -> None:
    for given, found in (((8, 0, 999, 999), (8, 0, 64, 48)), ((0, 0, 5, 5), None)):
        image = open_dicom(save(data_set(scan(), SequenceOfUltrasoundRegions=[region(given)]), tmp_path / "x"))
        assert (image.region and image.region.box) == found


# ---- the files that pydicom ships


def test_shipped_files_are_answered_as_pydicom_answers_or_refused_in_one_line() -> None:
    equal, refused = 0, {}
    for path in SHIPPED:
        try:
            image = open_dicom(path)
            frames = list(image.stored_frames())
            shown = list(image.frames())
        except ImageError as error:
            assert "\n" not in str(error) and str(error).startswith(f"{path}: ")
            refused[path.name] = error.code
            continue
        file = pydicom.dcmread(path, force=True)
        np.testing.assert_array_equal(np.stack(frames).reshape(file.pixel_array.shape), file.pixel_array, path.name)
        if image.photometric == "PALETTE COLOR":
            expected = apply_color_lut(file.pixel_array, file)
            expected = expected if expected.dtype == np.uint8 else np.rint(expected / 257)
            assert image.region is not None  # the shipped one is a scan of a Hitachi machine
            left, top, right, bottom = image.region.box
            np.testing.assert_array_equal(np.asarray(shown[0]), expected[top:bottom, left:right])
        elif image.photometric == "MONOCHROME2" and "WindowCenter" in file and image.frame_count == 1:
            windowed = apply_voi_lut(apply_modality_lut(file.pixel_array, file), file).astype(float)
            inside = np.asarray(shown[0])
            order = np.argsort(windowed, axis=None)
            assert (np.diff(inside.ravel()[order].astype(int)) >= 0).all()  # the same order of levels
        equal += 1
    assert equal >= 80
    damaged = ("not_an_image", "truncated", "incomplete")
    with_picture = {name: code for name, code in refused.items() if code not in damaged}
    assert set(with_picture.values()) == {"too_small", "unsupported"}
    assert {"MR_truncated.dcm", "JPEG2000-embedded-sequence-delimiter.dcm"} <= set(refused)


# ---- refusals


def test_no_damage_gives_anything_but_one_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sources = [save(with_jpeg(plant(data_set(scan(2))), scan(2)), tmp_path / "j.dcm").read_bytes()]
    for syntax in (uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless):
        elements = {"SequenceOfUltrasoundRegions": [region((0, 0, 40, 40))], "WindowCenter": 100, "WindowWidth": 90}
        file = plant(data_set(scan(2), **elements))
        if syntax.is_encapsulated:
            file.compress(syntax, generate_instance_uid=False)
        sources.append(save(file, tmp_path / "x.dcm", syntax).read_bytes())
    answered, refused = 0, 0
    for number in range(300):
        data = bytearray(sources[number % len(sources)])
        if number % 3 == 0:
            data = data[: int(rng.integers(132, len(data)))]
        else:
            reach = len(data) if number % 3 == 1 else min(len(data), 1200)  # anywhere; or in the header, most often
            for place in rng.integers(132, reach, int(rng.integers(1, 9))):
                data[place] = rng.integers(256)
        try:
            list(open_dicom("scan.dcm", bytes(data)).frames())
            answered += 1
        except ImageError as error:
            refused += 1
            assert str(error).startswith("scan.dcm: ") and "\n" not in str(error) and PLANTED not in str(error)
            assert error.__context__ is None or error.__suppress_context__  # a traceback would quote the file
    assert answered > 30 and refused > 100


def test_runs_longer_than_the_frame_do_not_end_the_program(tmp_path: Path) -> None:
    """Some decoders panic there, which `except Exception` does not see."""
    start = np.array([1, 64, *[0] * 14], "<u4").tobytes()  # PS3.5, G.5: one segment, which begins at byte 64
    file = data_set(scan())
    file.PixelData = encapsulate([start + b"\x81\x05" * (48 * 64 // 128 + 2)])  # runs of 128 times 5
    file["PixelData"].VR, file["PixelData"].is_undefined_length = "OB", True
    path = save(file, tmp_path / "x.dcm", uid.RLELossless)
    assert (pictures(path) == 5).all()


def test_limits(tmp_path: Path) -> None:
    for number, (file, code) in enumerate(
        (
            (data_set(scan(), NumberOfFrames=limits.MAX_FRAMES + 1), "too_large"),
            (data_set(scan(), Rows=60000, Columns=60000), "too_large"),
            (data_set(scan(1, 8, 8)), "too_small"),
            (data_set(scan(2), NumberOfFrames=3), "truncated"),
        )
    ):
        assert one_line(save(file, tmp_path / str(number))).code == code
    for syntax in (uid.DeflatedExplicitVRLittleEndian, uid.ExplicitVRBigEndian):
        assert one_line(save(data_set(scan()), tmp_path / "x", syntax)).code == "unsupported"


def test_without_its_decoder_one_line_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = data_set(scan())
    file.compress(uid.JPEG2000Lossless)
    path = save(file, tmp_path / "x.dcm")
    monkeypatch.setattr(get_decoder(uid.JPEG2000Lossless), "_available", {})
    with pytest.raises(ImageError, match=r"as JPEG 2000 .*, whose decoder is not installed; run .*\[dicom\]'$"):
        read_image(path)


# ---- at the border


def test_stills_are_images_as_others_and_name_no_patient(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    study = tmp_path / "study"
    study.mkdir()
    for name in ("IM000001", "1.2.840.5", "still.dcm"):
        save(plant(data_set(scan(1, 200, 240))), study / name)
    (study / "notes").write_text("no image")
    (study / "broken").write_bytes((study / "still.dcm").read_bytes()[:2000])
    with caplog.at_level(logging.DEBUG):
        done = sonoforge("classify", study, "--json")
    answers = {Path(answer["file"]).name: answer for answer in done.json["results"]}
    assert done.code == 2 and set(answers) == {"IM000001", "1.2.840.5", "still.dcm", "broken"}
    assert [name for name, answer in answers.items() if not answer["ok"]] == ["broken"]
    assert answers["IM000001"]["probabilities"] == answers["still.dcm"]["probabilities"]
    assert PLANTED not in done.out + done.err + caplog.text


def test_the_classes_without_a_picture_are_those_that_the_standard_names_so() -> None:
    without = ("SR", "Report", "Presentation State", "Encapsulated", "Waveform", "ECG", "Registration", "Raw", "Log")
    storage = {uid: entry[0] for uid, entry in uid.UID_dictionary.items() if entry[0].endswith("Storage")}
    pictures = [uid for uid, name in storage.items() if "Image Storage" in name]
    reports = [uid for uid, name in storage.items() if any(word in name.split(" - ")[0] for word in without)]
    assert len(pictures) > 50 and not any(file_kinds.is_non_image_class(uid) for uid in pictures)
    # Reports on glasses, maculas and luggage do not lie in a study of scans.
    missed = {storage[uid].split(" ")[0] for uid in reports if not file_kinds.is_non_image_class(uid)}
    assert len(reports) > 40 and missed == {"DICOS", "Macular", "Spectacle"}


# ---- dICOM whose header is untrue, damaged or incomplete: the pixels as written, or a line that names the element.

IMPLICIT, EXPLICIT, BIG = uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian


def grey16(frames: int = 1) -> np.ndarray:
    return (scan(frames).astype(np.uint16) * 16).astype("<u2")


def pixels_of(image: DicomImage) -> np.ndarray:
    return np.stack(list(image.stored_frames()))


def raw(file: Dataset, name: str, value: bytes) -> None:
    """Give an element bytes that pydicom would not write."""
    tag = Tag(tag_for_keyword(name) or 0)
    value += b" " * (len(value) % 2)
    file[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)


def one_line(path: Path) -> ImageError:
    with pytest.raises(ImageError) as caught:
        list(open_dicom(path).frames())
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < len(str(path)) + 250
    return caught.value


# ---- how it is stored, and how it says that it is


@pytest.mark.parametrize(("written", "claimed"), [(EXPLICIT, IMPLICIT), (IMPLICIT, EXPLICIT)])
@pytest.mark.parametrize("kind", ["grey 8", "grey 16", "colour", "clip", "regions"])
def test_the_elements_themselves_say_how_they_are_stored(
    tmp_path: Path, kind: str, written: uid.UID, claimed: uid.UID
) -> None:
    pixels = {"grey 16": grey16(), "colour": colour_scan(), "clip": scan(3)}.get(kind, scan())
    photometric = "RGB" if kind == "colour" else "MONOCHROME2"
    file = data_set(pixels, photometric)
    if kind == "regions":
        file.SequenceOfUltrasoundRegions = [region((0, 0, 40, 40))]
    path = claiming(save(file, tmp_path / "x.dcm", written), written, claimed)
    image = open_dicom(path)
    assert image.passed_over == ("TransferSyntaxUID",) and image.transfer_syntax == written
    np.testing.assert_array_equal(pixels_of(image), pixels)
    assert (image.region is not None) == (kind == "regions")


@pytest.mark.parametrize(
    ("written", "claimed", "said"),
    [
        *((BIG, claimed, "big-endian") for claimed in (EXPLICIT, IMPLICIT)),
        *((EXPLICIT, claimed, "uncompressed") for claimed in (uid.JPEGBaseline8Bit, uid.RLELossless)),
        (EXPLICIT, uid.JPEG2000Lossless, "uncompressed"),
        (uid.RLELossless, EXPLICIT, "compressed"),
    ],
)
def test_pixels_stored_otherwise_than_claimed_are_refused(
    tmp_path: Path, written: uid.UID, claimed: uid.UID, said: str
) -> None:
    file = data_set(grey16() if written == BIG else scan())
    if written == uid.RLELossless:
        file.compress(written, generate_instance_uid=False)
    error = one_line(claiming(save(file, tmp_path / "x.dcm", written), written, claimed))
    assert error.code == "truncated" and said in str(error)


@pytest.mark.parametrize(
    ("untrue", "said"),
    [
        ({"BitsAllocated": 16, "BitsStored": 16}, "bytes of pixels"),
        ({"Rows": 49}, "bytes of pixels"),
        ({"Rows": 36}, "bytes of pixels"),
        ({"NumberOfFrames": 2}, "bytes of pixels"),
        ({"NumberOfFrames": 4}, "bytes of pixels"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}, "bytes of pixels"),
        ({"BitsStored": 7, "HighBit": 7}, "HighBit is 7, not 6"),
        ({"PhotometricInterpretation": "ZEBEDEE"}, "other"),
        ({"BitsAllocated": 32, "BitsStored": 32}, "32"),
    ],
)
def test_an_untrue_or_unknown_element_is_refused(tmp_path: Path, untrue: dict[str, object], said: str) -> None:
    file = data_set(scan(3))
    for name, value in untrue.items():
        setattr(file, name, value)
    message = str(one_line(save(file, tmp_path / "x.dcm"))).removeprefix(str(tmp_path))
    assert said in message and "ZEBEDEE" not in message


def test_padding_behind_the_pixels_is_allowed(tmp_path: Path) -> None:
    file = data_set(scan())
    file.PixelData += b"\0" * 512
    np.testing.assert_array_equal(pixels_of(open_dicom(save(file, tmp_path / "x.dcm"))), scan())


# ---- what the pixels can do without


@pytest.mark.parametrize(
    ("name", "value", "beside"),
    [
        ("PixelSpacing", b"0,1\\0,1", {}),
        ("PixelSpacing", b"0.1", {}),
        ("PixelSpacing", b"9" * 300 + b"\\1", {}),
        ("ImagerPixelSpacing", b"-1\\1", {}),
        ("WindowWidth", b"4,09", {"WindowCenter": 2048}),
        ("WindowWidth", b"0", {"WindowCenter": 2048}),
        ("WindowWidth", b"-5", {"WindowCenter": 2048}),
        ("WindowWidth", b"1e400", {"WindowCenter": 2048}),
        ("WindowCenter", b"nan", {"WindowWidth": 2048}),
        ("WindowCenter", b"Zebedee", {"WindowWidth": 2048}),
        ("RescaleSlope", b"0", {"RescaleIntercept": 3}),
        ("RescaleIntercept", b"1,5", {"RescaleSlope": 2}),
        ("FrameTime", b"inf", {}),
        ("FrameTime", b"9" * 300, {}),
        ("FrameTime", b"0", {}),
        ("CineRate", b"0", {}),
        ("RecommendedDisplayFrameRate", b"0", {}),
        ("PixelSpacing", b"0\\0", {}),
        ("ImagerPixelSpacing", b"0\\0", {}),
        ("VOILUTFunction", b"ZEBEDEE", {}),
    ],
)
def test_a_damaged_element_that_pixels_do_without_is_passed_over_and_named(
    tmp_path: Path, name: str, value: bytes, beside: dict[str, object]
) -> None:
    plain = open_dicom(save(data_set(grey16(), BitsStored=12), tmp_path / "plain.dcm"))
    file = data_set(grey16(), BitsStored=12, **beside)
    raw(file, name, value)
    image = open_dicom(save(file, tmp_path / "x.dcm"))
    assert image.passed_over == (name,)
    assert (image.spacing, image.frame_time_ms) == (None, None)
    np.testing.assert_array_equal(pictures(image), pictures(plain))


def test_zeros_in_optional_elements_refuse_no_scan(tmp_path: Path) -> None:
    needed = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored")
    kinds = ("US", "UL", "FD", "FL", "DS", "IS")
    for tag, (kind, many, _, _, name) in DicomDictionary.items():
        if name and kind in kinds and many in ("1", "1-n", "2") and tag >> 16 in (0x18, 0x28) and name not in needed:
            file = data_set(scan(), **{name: [0, 0] if many == "2" else 0})
            np.testing.assert_array_equal(pictures(save(file, tmp_path / "x.dcm")), scan(), name)
    flat = region((8, 4, 40, 40), delta=0)
    image = open_dicom(
        save(data_set(scan(), SequenceOfUltrasoundRegions=[flat], PixelSpacing=[1, 2]), tmp_path / "x.dcm")
    )
    assert image.region is not None and image.spacing is not None and image.spacing.source == "PixelSpacing"


@pytest.mark.parametrize("name", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize(("bits", "data"), [(16, b""), (16, b"\0" * 100), (40, b"\0" * 512)])
def test_a_damaged_table_of_levels_is_passed_over_and_named(tmp_path: Path, name: str, bits: int, data: bytes) -> None:
    item = table([256, 0, bits], data)
    if not data:
        del item.LUTData
    image = open_dicom(save(data_set(scan(), **{name: [item]}), tmp_path / "x.dcm"))
    assert image.passed_over == (name,)
    np.testing.assert_array_equal(pictures(image), scan())


def test_a_damaged_region_is_passed_over_and_the_sound_one_beside_it_taken(tmp_path: Path) -> None:
    sound, damaged = region((8, 4, 40, 40)), region((0, 0, 63, 47))
    del damaged.RegionLocationMaxX1
    image = open_dicom(save(data_set(scan(), SequenceOfUltrasoundRegions=[damaged, sound]), tmp_path / "x.dcm"))
    assert image.passed_over == ("SequenceOfUltrasoundRegions",)
    assert image.region is not None and image.region.box == (8, 4, 41, 41)


@pytest.mark.parametrize("damage", ["missing", "empty", "letters", "300 digits", "zero"])
@pytest.mark.parametrize(
    "name",
    [
        *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation"),
        *("PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    ],
)
def test_an_element_that_pixels_need_is_named(tmp_path: Path, name: str, damage: str) -> None:
    file: FileDataset = data_set(colour_scan(), "RGB")
    plant(file)
    if damage == "missing":
        delattr(file, name)
    elif damage == "zero":
        if name in ("PixelRepresentation", "PlanarConfiguration", "PhotometricInterpretation"):
            pytest.skip("zero is sound, or no number is")
        setattr(file, name, 0)
    else:
        raw(file, name, {"empty": b"", "letters": b"Zeb", "300 digits": b"9" * 300}[damage])
    path = save(file, tmp_path / "x.dcm")
    if name == "NumberOfFrames" and damage in ("missing", "empty", "zero"):
        np.testing.assert_array_equal(pixels_of(open_dicom(path)), colour_scan())
        return
    error = one_line(path)
    assert f"its {name} is " in str(error) or (name == "PhotometricInterpretation" and error.code == "unsupported")
    assert PLANTED[:3] not in str(error).removeprefix(str(path))

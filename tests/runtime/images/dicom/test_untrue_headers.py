"""DICOM whose header is untrue, damaged or incomplete: the pixels as written, or a line that names the element."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="reading DICOM is an extra: pip install 'sonoforge[dicom]'")

from pydicom import uid
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import Tag

from dicom_files import PLANTED, claiming, colour_scan, data_set, plant, region, save, scan
from sonoforge.runtime.images.dicom.reader import DicomImage, open_dicom
from sonoforge.runtime.images.limits import ImageError

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


def refusal(path: Path) -> ImageError:
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


def compressed() -> FileDataset:
    file = data_set(scan())
    file.compress(uid.RLELossless, generate_instance_uid=False)
    return file


@pytest.mark.parametrize(
    ("make", "written", "claimed", "said"),
    [
        *((lambda: data_set(grey16()), BIG, claimed, "big-endian") for claimed in (EXPLICIT, IMPLICIT)),
        *((lambda: data_set(grey16()), written, BIG, "big-endian") for written in (EXPLICIT, IMPLICIT)),
        *(
            (lambda: data_set(scan()), EXPLICIT, claimed, "uncompressed")
            for claimed in (uid.JPEGBaseline8Bit, uid.RLELossless, uid.JPEG2000Lossless)
        ),
        (compressed, uid.RLELossless, EXPLICIT, "compressed"),
    ],
)
def test_pixels_stored_otherwise_than_claimed_are_refused(
    tmp_path: Path, make: Callable[[], FileDataset], written: uid.UID, claimed: uid.UID, said: str
) -> None:
    error = refusal(claiming(save(make(), tmp_path / "x.dcm", written), written, claimed))
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
    message = str(refusal(save(file, tmp_path / "x.dcm"))).removeprefix(str(tmp_path))
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
        ("CineRate", b"0", {}),
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
    (expected,), (found,) = plain.frames(), image.frames()
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize("name", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize("damage", ["no data", "short data", "no bits"])
def test_a_damaged_table_of_levels_is_passed_over_and_named(tmp_path: Path, name: str, damage: str) -> None:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [256, 0, 40 if damage == "no bits" else 16], b"\0" * 512
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    if damage == "no data":
        del item.LUTData
    elif damage == "short data":
        item.LUTData = b"\0" * 100
    image = open_dicom(save(data_set(scan(), **{name: [item]}), tmp_path / "x.dcm"))
    assert image.passed_over == (name,)
    (found,) = image.frames()
    np.testing.assert_array_equal(np.asarray(found), scan()[0])


def test_a_damaged_region_is_passed_over_and_the_sound_one_beside_it_taken(tmp_path: Path) -> None:
    sound, damaged = region((8, 4, 40, 40)), region((0, 0, 63, 47))
    del damaged.RegionLocationMaxX1
    image = open_dicom(save(data_set(scan(), SequenceOfUltrasoundRegions=[damaged, sound]), tmp_path / "x.dcm"))
    assert image.passed_over == ("SequenceOfUltrasoundRegions",)
    assert image.region is not None and image.region.box == (8, 4, 41, 41)


# ---- what the pixels need


@pytest.mark.parametrize("damage", ["missing", "empty", "letters", "300 digits"])
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
    else:
        raw(file, name, {"empty": b"", "letters": b"Zeb", "300 digits": b"9" * 300}[damage])
    path = save(file, tmp_path / "x.dcm")
    if name == "NumberOfFrames" and damage in ("missing", "empty"):
        np.testing.assert_array_equal(pixels_of(open_dicom(path)), colour_scan())
        return
    error = refusal(path)
    assert f"its {name} is " in str(error) or (name == "PhotometricInterpretation" and error.code == "unsupported")
    assert PLANTED[:3] not in str(error).removeprefix(str(path))


def test_colour_planes_of_compressed_frames_need_no_element(tmp_path: Path) -> None:
    file = data_set(colour_scan(2), "RGB")
    file.compress(uid.JPEG2000Lossless, generate_instance_uid=False)
    del file.PlanarConfiguration
    np.testing.assert_array_equal(pixels_of(open_dicom(save(file, tmp_path / "x.dcm"))), colour_scan(2))


def test_a_report_has_no_picture(tmp_path: Path) -> None:
    file = data_set(scan())
    for name in ("PixelData", "Rows", "Columns", "PhotometricInterpretation"):
        delattr(file, name)
    assert refusal(save(file, tmp_path / "x.dcm")).code == "not_an_image"

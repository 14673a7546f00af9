"""The page's JavaScript reads DICOM files to the very bytes of Python's runtime, or refuses them by the same code.

JPEG frames, which the browser decodes, are in `test_page_clips.py`.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset

from dicom_files import PLANTED, claiming, colour_scan, data_set, palette, plant, region, save, scan
from page_scripts import check_damaged, compare, run_script

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="needs node, and npm to load dicom-parser"
)

LOSSLESS = {
    "implicit": uid.ImplicitVRLittleEndian,
    "explicit": uid.ExplicitVRLittleEndian,
    "rle": uid.RLELossless,
}


def deep(frames: int = 1, bits: int = 12, signed: bool = False) -> np.ndarray:
    values = np.random.default_rng(bits).integers(0, 1 << bits, (frames, 48, 64))
    return (values - (1 << bits - 1)).astype("<i2") if signed else values.astype("<u2")


def colours(count: int, most: int, kind: str) -> np.ndarray:
    return np.random.default_rng(1).integers(0, most, (3, count)).astype(kind)


def lossless(folder: Path) -> dict[str, Path]:
    """Each interpretation in each transfer syntax that is lossless and that the page reads."""
    files = {}
    for name, syntax in LOSSLESS.items():
        for photometric in ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL"):
            for frames in (1, 3):
                pixels = scan(frames) if photometric.startswith("MONO") else colour_scan(frames)
                file = data_set(pixels, photometric)
                if syntax.is_encapsulated:
                    file.compress(syntax, generate_instance_uid=False)
                files[f"{name}-{photometric}-{frames}"] = save(file, folder / f"{len(files)}.dcm", syntax)
        for signed in (False, True):
            file = data_set(deep(2, signed=signed), BitsStored=12)
            if syntax.is_encapsulated:
                file.compress(syntax, generate_instance_uid=False)
            files[f"{name}-12-{signed}"] = save(file, folder / f"{len(files)}.dcm", syntax)
    return files


def levels() -> dict[str, FileDataset]:
    """What makes levels of values: windows, rescaling, tables, palettes, bits."""
    files = {
        "window": data_set(deep(), BitsStored=12, WindowCenter=[2000, 9], WindowWidth=[900, 9]),
        "window-exact": data_set(deep(), WindowCenter=2000, WindowWidth=900, VOILUTFunction="LINEAR_EXACT"),
        "window-sigmoid": data_set(deep(), WindowCenter=2000, WindowWidth=900, VOILUTFunction="SIGMOID"),
        "rescaled": data_set(deep(), BitsStored=12, RescaleSlope=2, RescaleIntercept=-1024),
        "rescaled-window": data_set(
            deep(), BitsStored=12, RescaleSlope=-0.5, RescaleIntercept=7, WindowCenter=-300, WindowWidth=801.5
        ),
        "window-1": data_set(deep(), BitsStored=12, WindowCenter=2000, WindowWidth=1),
        "slope": data_set(deep(), BitsStored=12, RescaleSlope=-2),
        "slope-window": data_set(deep(), BitsStored=12, RescaleSlope=2, WindowCenter=2000, WindowWidth=900),
        "palette-16": data_set(scan(), "PALETTE COLOR", **palette(colours(256, 65536, "<u2"), (256, 0, 16))),
        "palette-12": data_set(scan(), "PALETTE COLOR", **palette(colours(256, 4096, "<u2"), (256, 0, 12))),
        "palette-8": data_set(scan(), "PALETTE COLOR", **palette(colours(100, 256, "u1"), (100, 50, 8))),
        "palette-odd": data_set(scan(), "PALETTE COLOR", **palette(colours(99, 256, "u1"), (99, 0, 8))),
        "palette-low": data_set(scan(), "PALETTE COLOR", **palette(colours(256, 256, "<u2"), (256, 0, 8))),
        "palette-high": data_set(scan(), "PALETTE COLOR", **palette(colours(256, 256, "<u2") * 256, (256, 0, 8))),
        "palette-16-of-8": data_set(scan(), "PALETTE COLOR", **palette(colours(256, 256, "<u2"), (256, 0, 16))),
        "palette-signed": data_set(
            deep(signed=True), "PALETTE COLOR", **palette(colours(65536, 256, "u1"), (0, -32768, 8))
        ),
        "colour-16": data_set(colour_scan().astype("<u2") * 200, "RGB"),
        "colour-12": data_set(colour_scan().astype("<u2") * 16, "RGB", BitsStored=12),
        "signed-8": data_set(scan().view(np.int8)),
    }
    for stored, bits in ((16, 8), (16, 10), (16, 12), (16, 14), (16, 16), (12, 8), (12, 10)):
        for signed in (False, True):
            files[f"{bits}-in-{stored}-{signed}"] = data_set(deep(3, bits, signed), BitsStored=stored)
    planes = data_set(colour_scan(2), "RGB")
    planes.PlanarConfiguration = 1
    planes.PixelData = colour_scan(2).transpose(0, 3, 1, 2).tobytes()
    halved = data_set(colour_scan(), "YBR_FULL_422")
    halved.PixelData = scan(2).tobytes()
    padded = data_set(scan())
    padded.PixelData += b"\0" * 512
    return files | {"planes": planes, "halved": halved, "padded": padded}


def places() -> dict[str, FileDataset]:
    """Regions, sizes of pixels, times, and elements that are passed over."""
    damaged = region((0, 0, 63, 47))
    del damaged.RegionLocationMaxX1
    regions = [region((0, 0, 20, 20)), region((0, 0, 63, 47), data_type=3), region((10, 5, 63, 40), delta=0.02)]
    return {
        "regions": data_set(scan(2), SequenceOfUltrasoundRegions=regions, PixelSpacing=[9, 9], FrameTime=40),
        "region-beyond": data_set(colour_scan(), "RGB", SequenceOfUltrasoundRegions=[region((8, 0, 999, 999))]),
        "region-tiny": data_set(scan(), SequenceOfUltrasoundRegions=[region((0, 0, 5, 5))]),
        "region-damaged": data_set(scan(), SequenceOfUltrasoundRegions=[damaged, region((8, 4, 40, 40))]),
        "spacing": data_set(scan(), CineRate=25, PixelSpacing=[0.1, 0.2]),
        "detector": data_set(scan(), RecommendedDisplayFrameRate=50, ImagerPixelSpacing=[0.1, 0.2]),
        "planted": plant(data_set(scan())),
        "passed-over": data_set(deep(), BitsStored=12, PixelSpacing=[0.1, -1], WindowCenter=9, WindowWidth=0),
        "zeros": data_set(scan(), NumberOfFrames=0, PixelSpacing=[0, 0], FrameTime=0, CineRate=25, RescaleSlope=0),
        "centre-alone": data_set(deep(), BitsStored=12, WindowCenter=9),
        "function": data_set(deep(), VOILUTFunction=PLANTED.upper()),
    }


def refused() -> dict[str, FileDataset]:
    files = {}
    for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation"):
        files[f"no {name}"] = data_set(scan())
        delattr(files[f"no {name}"], name)
    for name in ("PhotometricInterpretation", "PlanarConfiguration"):
        files[f"no {name}"] = plant(data_set(colour_scan(), "RGB"))
        delattr(files[f"no {name}"], name)
    wrong: dict[str, dict[str, object]] = {
        "short": {"Rows": 49},
        "long": {"Rows": 36},
        "frames": {"NumberOfFrames": 4},
        "many": {"NumberOfFrames": 6000},
        "large": {"Rows": 60000, "Columns": 60000},
        "name": {"PhotometricInterpretation": PLANTED.upper()},
        "cmyk": {"PhotometricInterpretation": "CMYK"},
        "bits": {"BitsAllocated": 32, "BitsStored": 32},
        "samples": {"SamplesPerPixel": 2},
    }
    for name, elements in wrong.items():
        files[name] = plant(data_set(scan()))
        for element, value in elements.items():
            setattr(files[name], element, value)
    files["report"] = data_set(scan())
    del files["report"].PixelData
    files["floats"] = data_set(scan())
    del files["floats"].PixelData
    files["floats"].FloatPixelData = bytes(4 * 48 * 64)
    files["high"] = data_set(deep(), BitsStored=12)
    files["high"].HighBit = 15
    return files


@pytest.mark.parametrize("make", [levels, places])
def test_values_places_and_times_are_those_of_python(
    tmp_path: Path, make: Callable[[], dict[str, FileDataset]]
) -> None:
    files = {name: save(file, tmp_path / f"{number}.dcm") for number, (name, file) in enumerate(make().items())}
    wrong, found = compare(files, tmp_path)
    assert wrong == {}
    assert PLANTED.lower() not in str(found).lower()


def test_every_lossless_syntax_gives_the_same_bytes(tmp_path: Path) -> None:
    wrong, found = compare(lossless(tmp_path), tmp_path)
    assert wrong == {}
    assert all("frames" in one for one in found.values())


def test_the_elements_themselves_say_how_they_are_stored(tmp_path: Path) -> None:
    files = {}
    for written, claimed in itertools.product(LOSSLESS, LOSSLESS):
        file = data_set(scan(2), SequenceOfUltrasoundRegions=[region((0, 0, 40, 40))])
        if written == "rle":
            file.compress(uid.RLELossless, generate_instance_uid=False)
        path = save(file, tmp_path / f"{written}-{claimed}.dcm", LOSSLESS[written])
        files[path.name] = claiming(path, LOSSLESS[written], LOSSLESS[claimed])
    wrong, found = compare(files, tmp_path)
    assert wrong == {}
    assert sum("frames" in one for one in found.values()) == 5


def test_a_file_that_python_refuses_is_refused_by_the_same_code_and_quotes_nothing(tmp_path: Path) -> None:
    files = {name: save(file, tmp_path / f"{number}.dcm") for number, (name, file) in enumerate(refused().items())}
    wrong, found = compare(files, tmp_path)
    assert wrong == {}
    assert all("message" in one for one in found.values())
    assert PLANTED.lower() not in str(found).lower()


def test_what_only_python_reads_is_refused_with_the_remedy(tmp_path: Path) -> None:
    item = Dataset()
    item.LUTDescriptor, item.LUTData, item.ModalityLUTType = [256, 0, 16], bytes(512), "US"
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    files = {name: data_set(scan(), **{name: [item]}) for name in ("ModalityLUTSequence", "VOILUTSequence")}
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        files[name] = data_set(scan(), **{name: [Dataset()]})
    paths = [save(file, tmp_path / f"{name}.dcm") for name, file in files.items()]
    for name, syntax in {"big": uid.ExplicitVRBigEndian, "deflated": uid.DeflatedExplicitVRLittleEndian}.items():
        paths.append(save(data_set(scan()), tmp_path / f"{name}.dcm", syntax))
    for one in run_script("decode_any.mjs", [str(path) for path in paths], tmp_path):
        assert one["code"] == "unsupported" and "use sonoforge classify" in one["message"], one


def test_the_files_that_pydicom_ships_are_answered_as_python_does_or_refused(tmp_path: Path) -> None:
    """All but those whose frames a browser decodes."""
    files = {}
    for path in sorted(Path(pydicom.data.__file__).parent.rglob("*.dcm")):
        head = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=[])
        syntax = str(head.file_meta.get("TransferSyntaxUID") or uid.ExplicitVRLittleEndian)
        # No picture for Python, cut off for the page.
        if path.name != "rtplan_truncated.dcm" and syntax not in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit):
            files[path.name] = path
    wrong, found = compare(files, tmp_path)
    assert sum("frames" in one for one in found.values()) > 20
    for name, (differing, _) in wrong.items():
        no_picture = differing.get("code", ("", ""))[1] == "not_an_image"
        assert found[name]["code"] == "unsupported" or no_picture, wrong[name]


def test_no_damage_gives_anything_but_a_picture_or_one_line(tmp_path: Path) -> None:
    sources = []
    elements: dict[str, Any] = {"SequenceOfUltrasoundRegions": [region((0, 0, 40, 40))], "WindowCenter": 100}
    for number, syntax in enumerate(LOSSLESS.values()):
        file = plant(data_set(scan(2), **elements, WindowWidth=90))
        if syntax.is_encapsulated:
            file.compress(syntax, generate_instance_uid=False)
        sources.append(save(file, tmp_path / f"{number}.dcm", syntax).read_bytes())
    assert PLANTED not in check_damaged(sources, 132, (132, 1200), tmp_path)

"""DICOM files written for tests: every transfer syntax, interpretation and odd habit that the reader must know."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

PLANTED = "Zebedee"  # in every text of a planted file; must come out nowhere


def scan(frames: int = 1, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """(frames, height, width) uint8: speckle that brightens to the right, a little different in each frame."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, width)
    return (ramp + rng.integers(0, 56, (frames, height, width))).astype(np.uint8)


def colour_scan(frames: int = 1, seed: int = 0) -> np.ndarray:
    return np.stack([scan(frames, seed=seed + channel) for channel in range(3)], axis=-1)


def data_set(pixels: np.ndarray, photometric: str = "MONOCHROME2", **elements: object) -> FileDataset:
    """An uncompressed object of pixels (frames, H, W) or (frames, H, W, 3)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["sonoforge"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.NumberOfFrames, file.Rows, file.Columns = pixels.shape[:3]
    file.SamplesPerPixel = 3 if pixels.ndim == 4 else 1
    if pixels.ndim == 4:
        file.PlanarConfiguration = 0
    file.PhotometricInterpretation = photometric
    file.BitsAllocated = file.BitsStored = 8 * pixels.itemsize
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    file.PixelData = np.ascontiguousarray(pixels).tobytes()
    for name, value in elements.items():
        setattr(file, name, value)
    file.HighBit = file.BitsStored - 1
    file["PixelData"].VR = "OB" if file.BitsAllocated == 8 else "OW"
    return file


def plant(file: Dataset) -> Dataset:
    """Put the planted name into texts of all kinds: patient, physician, place, description, comments, private."""
    for name in (
        *(
            "PatientName",
            "PatientID",
            "PatientAddress",
            "ReferringPhysicianName",
            "InstitutionName",
            "StudyDescription",
        ),
        *("SeriesDescription", "ImageComments", "PatientComments", "OperatorsName", "AccessionNumber", "StationName"),
    ):
        setattr(file, name, PLANTED)
    file.private_block(0x0011, PLANTED, create=True).add_new(1, "LO", PLANTED)
    return file


def with_jpeg(file: FileDataset, pixels: np.ndarray, **options: object) -> FileDataset:
    """Store the frames as Pillow's baseline JPEG."""
    frames = []
    for frame in pixels:
        stream = io.BytesIO()
        Image.fromarray(frame).save(stream, "JPEG", **{"quality": 90, **options})
        frames.append(stream.getvalue())
    file.PixelData = encapsulate(frames)
    file["PixelData"].VR, file["PixelData"].is_undefined_length = "OB", True
    file.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    return file


def save(file: FileDataset, path: Path, syntax: str | None = None) -> Path:
    if syntax is not None:
        file.file_meta.TransferSyntaxUID = UID(syntax)
    uid = file.file_meta.TransferSyntaxUID
    file.set_original_encoding(uid.is_implicit_VR, uid.is_little_endian)  # 8-bit pixels are the same in either order
    file.save_as(path)
    return path


def claiming(path: Path, written: UID, claimed: UID) -> Path:
    """Change the transfer syntax that a file claims, and nothing else of it."""
    data = path.read_bytes()
    stated, other = (value.encode() + b"\0" * (len(value) % 2) for value in (written, claimed))
    at = data.index(b"\x02\x00\x10\x00UI")  # of a file without a length of its first group, which would change
    head = data[:at] + b"\x02\x00\x10\x00UI" + len(other).to_bytes(2, "little")
    path.write_bytes(head + other + data[at + 8 + len(stated) :])
    return path


def region(box: tuple[int, int, int, int], data_type: int = 1, delta: float = 0.01) -> Dataset:
    """An ultrasound region with inclusive corners X0, Y0, X1, Y1."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, data_type, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0, item.RegionLocationMaxX1, item.RegionLocationMaxY1 = box
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta, -2 * delta
    return item


def groups(window: dict[str, object] | None = None, rescale: dict[str, object] | None = None) -> Dataset:
    """An item of functional groups: elements of a window or a table, and of rescaling."""
    item = Dataset()
    for name, elements in (("FrameVOILUTSequence", window), ("PixelValueTransformationSequence", rescale)):
        if elements is not None:
            own = Dataset()
            for keyword, value in elements.items():
                setattr(own, keyword, value)
            setattr(item, name, [own])
    return item


def rescale(slope: float, intercept: float = 0) -> dict[str, object]:
    return {"RescaleSlope": slope, "RescaleIntercept": intercept, "RescaleType": "US"}


def window(centre: float, width: float, function: str = "") -> dict[str, object]:
    return {"WindowCenter": centre, "WindowWidth": width, **({"VOILUTFunction": function} if function else {})}


def palette(tables: np.ndarray, descriptor: tuple[int, int, int], segmented: bool = False) -> dict[str, object]:
    """The elements of a palette of (3, N) bytes or words."""
    elements: dict[str, object] = {}
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [*descriptor]
        data = table.tobytes()
        elements[f"{'Segmented' * segmented}{name}PaletteColorLookupTableData"] = data + b"\0" * (len(data) % 2)
    return elements

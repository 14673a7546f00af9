"""The picture of an answer as a DICOM object, for the archive that holds the scan (Secondary Capture, PS3.3, A.8.1).

It is the picture of ``classify --overlay``: the scan, or the best frame of a clip, under its heat map, with the answer
in words below.  The pictures of one study and one network are one series.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sonoforge.runtime.images.dicom.derived_objects import MOST_LETTERS, Scan, model_of, read_scan, uid, write
from sonoforge.runtime.images.dicom.header import one_line
from sonoforge.runtime.notice import NOTICE

if TYPE_CHECKING:
    from PIL import Image
    from pydicom.dataset import Dataset

_SERIES_NUMBER = 9001  # beyond what a machine counts up to in one study, and after the reports
_AS_IN_THE_SCAN = ("PatientOrientation", "Laterality", "ImageLaterality", "BodyPartExamined", "InstanceNumber")


def write_capture(folder: Path, path: str, entry: dict[str, Any], draw: Callable[[], Image.Image]) -> Path:
    """Write the picture of the answer for one DICOM file into a folder, whole or not at all; return its path.

    It is named by its SOP Instance UID, which follows from the image and the answer; one that is there is not drawn
    again.

    Args:
        folder: Where to.
        path: The scan.
        entry: Its answer.
        draw: What draws it, RGB.

    Raises:
        ImageError: The file cannot be read any more, or does not say which study and series it belongs to.
        SonoforgeError: highdicom is not installed, or the object cannot be written.
    """
    scan = read_scan(path, entry)
    target = folder / f"{uid('capture', scan.identity)}.dcm"
    if target.exists():
        return target
    picture = draw()
    with one_line(path):
        capture = _capture(scan, entry, picture)
    return write(target, capture, path)


def _capture(scan: Scan, entry: dict[str, Any], picture: Image.Image) -> Dataset:
    from highdicom.sc import SCImage  # noqa: PLC0415 - an extra
    from pydicom.dataset import Dataset as Item  # noqa: PLC0415 - an extra
    from pydicom.uid import ExplicitVRLittleEndian  # noqa: PLC0415 - an extra

    header = scan.header
    capture: Dataset = SCImage.from_ref_dataset(
        header,
        pixel_array=np.asarray(picture.convert("RGB")),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),  # demanded, and taken back below: of most ultrasound it is unknown
        series_instance_uid=uid("captures", f"{header.StudyInstanceUID} {entry['model']['sha256']}"),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=uid("capture", scan.identity),
        instance_number=1,
        manufacturer="sonoforge",
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    capture.PatientOrientation = capture.Laterality = None
    for name in _AS_IN_THE_SCAN:
        if header.get(name) is not None:
            capture[name] = header[name]
    if "ImageLaterality" in capture:  # one of both
        del capture.Laterality
    capture.Modality, capture.ConversionType = "OT", "WSD"
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.SeriesDescription = f"sonoforge: {NOTICE}"[:MOST_LETTERS]
    capture.DerivationDescription = f"A network's heat map and answer drawn over a scan: {model_of(entry)}. {NOTICE}"
    capture.SoftwareVersions = model_of(entry)
    source = Item()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    if "clip" in entry:
        source.ReferencedFrameNumber = entry["clip"]["best_frame"]
    capture.SourceImageSequence = [source]
    return capture

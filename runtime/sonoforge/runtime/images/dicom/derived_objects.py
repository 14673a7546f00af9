"""Derive DICOM objects for an archive from a scan and its answer: a structured report and a picture.

The report is a Comprehensive SR (PS3.3, A.35.3) with a measurement report (PS3.16, TID 1500). It is marked complete,
preliminary and unverified, because no person has looked at it; the picture of ``classify --overlay`` is a Secondary
Capture (PS3.3, A.8.1). Only this module reads the patient's elements: they go from the scan into the derived object
unchanged, and nowhere else.
"""

import contextlib
import hashlib
import io
import json
import re
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage
from pydicom.valuerep import DA, TM

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import require
from sonoforge.runtime.images.dicom.data_set import silence_pydicom
from sonoforge.runtime.images.dicom.header import one_line
from sonoforge.runtime.images.limits import ImageError
from sonoforge.runtime.notice import NOTICE

SCHEME = "99SONOFORGE"
"""Designator of private codes where the standard has none; 99 is for private schemes (PS3.16, 8)."""

_MOST_LETTERS = 64  # of a long string and of a code's meaning (PS3.5, 6.2)
_NOT_OF_THE_ANSWER = ("file", "ms", "overlay")  # differ each time, or are not reported
# Of patient and study (type 2: PS3.3, C.7.1.1 and C.7.2.1): they may be empty but not missing or invalid, as on some
# machines.
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
)
_COPIED_TO_PICTURE = ("PatientOrientation", "Laterality", "ImageLaterality", "BodyPartExamined", "InstanceNumber")
_UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64  # PS3.5, 9.1
_REPORT_SERIES, _PICTURE_SERIES = 9000, 9001  # numbers beyond those that a machine reaches in one study
# SNOMED CT, PS3.16, CID 222 and the like; other classes get a private code that carries their name.
_SNOMED = {"normal": "17621005", "benign": "30807003", "malignant": "21594007"}
_YES_NO = {True: ("373066001", "Yes"), False: ("373067005", "No")}


class Identity(NamedTuple):
    """The UIDs of one object."""

    sop_class: str
    instance: str
    series: str
    study: str


def identify(source: Path | bytes, name: str) -> Identity:
    """Return an object's UIDs from a file or its bytes, and read nothing else; ``name`` is for messages.

    Raises:
        ImageError: It is not DICOM, or a UID is missing or invalid.
    """
    silence_pydicom()
    with one_line(name):
        stream = io.BytesIO(source) if isinstance(source, bytes) else source
        found = dcmread(stream, stop_before_pixels=True, specific_tags=[*_UIDS])
        uids = [str(found.get(tag) or "") for tag in _UIDS]
    for tag, own in zip(_UIDS, uids, strict=True):
        if len(own) > _LONGEST_UID or not _UID.fullmatch(own):  # which also makes it safe as a file name
            problem = "has no valid" if own else "has no"
            raise ImageError("unsupported", f"{name}: {problem} {tag}, so no archive can file a report on it")
    return Identity(*uids)


def uid(kind: str, of: str) -> str:
    """Return a UID from a hash, under the root for UUIDs (PS3.5, B.2)."""
    digest = hashlib.sha256(f"sonoforge {kind} {of}".encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"


def _read_scan(path: str, entry: dict[str, Any]) -> tuple[Dataset, str]:
    """Return a scan's header, and a text that identifies the scan and its answer, to derive UIDs from."""
    require("reports and pictures for an archive", "dicom", "highdicom")
    warnings.filterwarnings("ignore", module=r"highdicom(\.|$)")  # its warnings quote the patient's name
    instance = identify(Path(path), path).instance
    with one_line(path):
        header = dcmread(path, stop_before_pixels=True)
        header.decode()
        header.SpecificCharacterSet = "ISO_IR 192"  # UTF-8: some of those in use are refused
        for name in _MAY_BE_EMPTY:
            if name not in header or not _is_sound(header[name]):
                setattr(header, name, None)
    answer = {key: value for key, value in entry.items() if key not in _NOT_OF_THE_ANSWER}
    return header, f"{instance} {json.dumps(answer, sort_keys=True)}"


def _is_sound(element: DataElement) -> bool:
    """Whether an element has one value, and one that a derived object may hold; PS3.5, 6.2."""
    with contextlib.suppress(ValueError):
        if element.VR in ("DA", "TM"):
            {"DA": DA, "TM": TM}[element.VR](element.value or "")
        return element.VM < 2 and (element.keyword != "PatientSex" or element.value in ("", None, "M", "F", "O"))
    return False


def _model_of(entry: dict[str, Any]) -> str:
    return f"{entry['model']['name']} {entry['model']['version']}"[:_MOST_LETTERS]


def _write(target: Path, derived: Dataset, path: str) -> Path:
    stream = io.BytesIO()
    with one_line(path):
        derived.save_as(stream, enforce_file_format=True)
    atomic.write_bytes(target, stream.getvalue())
    return target


# ---- the picture


def write_capture(folder: Path, path: str, entry: dict[str, Any], draw: Callable[[], Image.Image]) -> Path:
    """Write a DICOM file's picture of the answer to a folder, whole or not at all; return its path.

    It is named by its SOP Instance UID, which follows from the image and the answer; an existing one is not drawn
    again.  The pictures of one study and one network are one series.

    Raises:
        ImageError: The file can no longer be read, or does not say which study and series it belongs to.
        SonoforgeError: highdicom is not installed, or the object cannot be written.
    """
    header, identity = _read_scan(path, entry)
    instance = uid("capture", identity)
    target = folder / f"{instance}.dcm"
    if target.exists():
        return target
    picture = draw()
    with one_line(path):
        from highdicom.sc import SCImage  # noqa: PLC0415 - an extra

        capture: Dataset = SCImage.from_ref_dataset(
            header,
            pixel_array=np.asarray(picture.convert("RGB")),
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("L", "P"),  # required here, removed below: unknown for most ultrasound
            series_instance_uid=uid("captures", f"{header.StudyInstanceUID} {entry['model']['sha256']}"),
            series_number=_PICTURE_SERIES,
            sop_instance_uid=instance,
            instance_number=1,
            manufacturer="sonoforge",
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
        capture.PatientOrientation = capture.Laterality = None
        for name in _COPIED_TO_PICTURE:
            if header.get(name) is not None:
                capture[name] = header[name]
        if "ImageLaterality" in capture:  # only one of the two is allowed
            del capture.Laterality
        capture.Modality, capture.ConversionType = "OT", "WSD"
        capture.ImageType = ["DERIVED", "SECONDARY"]
        capture.SeriesDescription = f"sonoforge: {NOTICE}"[:_MOST_LETTERS]
        capture.DerivationDescription = (
            f"A network's heat map and answer drawn over a scan: {_model_of(entry)}. {NOTICE}"
        )
        capture.SoftwareVersions = _model_of(entry)
        source = Dataset()
        source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
        if "clip" in entry:
            source.ReferencedFrameNumber = entry["clip"]["best_frame"]
        capture.SourceImageSequence = [source]
    return _write(target, capture, path)


# ---- the structured report


def write_report(folder: Path, path: str, entry: dict[str, Any]) -> Path:
    """Write a DICOM file's answer as a structured report to a folder; return its path.

    It is named by its SOP Instance UID, as in `write_capture`, so an archive files the same answer once.

    Raises:
        ImageError: The file can no longer be read, or does not say which study and series it belongs to.
        SonoforgeError: highdicom is not installed, or the report cannot be written.
    """
    scan, identity = _read_scan(path, entry)
    from highdicom.sr import ComprehensiveSR  # noqa: PLC0415 - an extra

    own = scan.SOPClassUID
    with one_line(path):
        if own.is_private or own.is_retired:  # which highdicom does not know
            scan.SOPClassUID = UltrasoundImageStorage
        report: Dataset = ComprehensiveSR(
            evidence=[scan],
            content=_content(scan, entry, identity),
            series_instance_uid=uid("series", identity),
            series_number=_REPORT_SERIES,
            sop_instance_uid=uid("report", identity),
            instance_number=1,
            manufacturer="sonoforge",
            is_complete=True,
            series_description=f"sonoforge: {NOTICE}"[:_MOST_LETTERS],
        )
        report.SoftwareVersions = _model_of(entry)
        for item in (item for element in report.iterall() if element.VR == "SQ" for item in element.value):
            if item.get("ReferencedSOPInstanceUID") == scan.SOPInstanceUID:
                item.ReferencedSOPClassUID = own
    target = folder / f"{report.SOPInstanceUID}.dcm"
    return target if target.exists() else _write(target, report, path)


def _content(scan: Dataset, entry: dict[str, Any], identity: str) -> Dataset:
    """Build the content tree, TID 1500."""
    from highdicom import sr  # noqa: PLC0415 - an extra

    def private(value: str, meaning: str) -> Code:
        return Code(value, SCHEME, meaning[:_MOST_LETTERS])

    yes_no = {answer: Code(value, "SCT", meaning) for answer, (value, meaning) in _YES_NO.items()}
    probabilities = [*enumerate(entry["probabilities"].items(), start=1)]
    classes = {
        name: Code(_SNOMED[name], "SCT", name.capitalize()) if name in _SNOMED else private(f"CLASS-{index}", name)
        for index, (name, _) in probabilities
    }
    figures = [(private(f"PROBABILITY-{i}", f"Probability of {name}"), p) for i, (name, p) in probabilities]
    asked = []
    for i, (name, found) in enumerate(entry["findings"].items(), start=1):
        asked.append((private(f"QUESTION-{i}", f"Beyond the operating point of {name}"), yes_no[found["positive"]]))
        figures.append((private(f"SHARE-{i}", f"Probability of yes to {name}"), found["probability"]))
        figures.append((private(f"FROM-{i}", f"Yes to {name} from a probability of"), found["threshold"]))
        if not found["positive"]:
            break  # the next question does not arise
    evaluations = [
        (private("VERDICT", "How the answer is to be taken"), private(entry["verdict"], entry["verdict"].capitalize())),
        (private("LABEL", "Most probable class"), classes.get(entry["label"], private("UNCERTAIN", "No label given"))),
        *asked,
        *((private("SET", "Class that cannot be ruled out"), classes[name]) for name in entry["set"]),
        (private("KNOWN", "Like the images of the training"), yes_no[entry["trust"]["in_distribution"]]),
        *(
            (private("QUALITY", "Quality outside the training's range"), private(name, name))
            for name in entry["quality"]["flags"]
        ),
    ]
    frames = [entry["clip"]["best_frame"]] if "clip" in entry else None
    library = None
    with contextlib.suppress(Exception):  # an option, for which highdicom does not know all classes
        sr.ImageLibrary([scan])
        library = [scan]
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=uid("finding", identity), identifier="classification"),
        algorithm_id=sr.AlgorithmIdentification(
            name=entry["model"]["name"],
            version=entry["model"]["version"],
            parameters=[NOTICE, f"sha256 of the network: {entry['model']['sha256']}"],
        ),
        measurements=[sr.Measurement(name=name, value=value, unit=codes.UCUM.NoUnits) for name, value in figures],
        qualitative_evaluations=[sr.QualitativeEvaluation(name, value) for name, value in evaluations],
        source_images=[sr.SourceImageForMeasurementGroup(scan.SOPClassUID, scan.SOPInstanceUID, frames)],
    )
    model = _model_of(entry)
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=uid("device", model), name="sonoforge", manufacturer_name="sonoforge", model_name=model
    )
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(
                observer_type=codes.DCM.Device, observer_identifying_attributes=device
            )
        ),
        procedure_reported=private("PROCEDURE", "Image classification"),
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=library,
    )[0]

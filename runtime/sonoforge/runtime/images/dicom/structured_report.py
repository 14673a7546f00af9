"""An answer as a DICOM structured report, for the archive that holds the scan.

The content is a measurement report (PS3.16, TID 1500) with one group of measurements and evaluations (TID 1501) that
refers to the image; the object is a Comprehensive SR (PS3.3, A.35.3) in a series of its own in the scan's study.  It is
marked complete, preliminary and unverified: no person has looked at it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonoforge.runtime.images.dicom.derived_objects import MOST_LETTERS, model_of, read_scan, uid, write
from sonoforge.runtime.images.dicom.header import one_line
from sonoforge.runtime.notice import NOTICE

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.sr.coding import Code

SCHEME = "99SONOFORGE"
"""Designator of the private codes, for what the standard has no code for; 99 is for private schemes (PS3.16, 8)."""

# SNOMED CT, PS3.16, CID 222 and its like; other classes get a private code that carries their name.
_SNOMED = {"normal": "17621005", "benign": "30807003", "malignant": "21594007"}
_YES_NO = {True: ("373066001", "Yes"), False: ("373067005", "No")}
_SERIES_NUMBER = 9000  # beyond what a machine counts up to in one study


def write_report(folder: Path, path: str, entry: dict[str, Any]) -> Path:
    """Write the answer for one DICOM file as a structured report into a folder, whole or not at all; return its path.

    The report is named by its SOP Instance UID, which follows from the image and the answer: the same answer for the
    same image is the same report, is not written again, and is filed by an archive once.

    Raises:
        ImageError: The file cannot be read any more, or does not say which study and series it belongs to.
        SonoforgeError: highdicom is not installed, or the report cannot be written.
    """
    report = make_report(path, entry)
    target = folder / f"{report.SOPInstanceUID}.dcm"
    return target if target.exists() else write(target, report, path)


def make_report(path: str, entry: dict[str, Any]) -> Dataset:
    """Build the structured report for one DICOM file; see `write_report`."""
    scan, identity = read_scan(path, entry)
    from highdicom.sr import ComprehensiveSR  # noqa: PLC0415 - an extra

    with one_line(path):
        report: Dataset = ComprehensiveSR(
            evidence=[scan],
            content=_content(scan, entry, identity),
            series_instance_uid=uid("series", identity),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=uid("report", identity),
            instance_number=1,
            manufacturer="sonoforge",
            is_complete=True,
            series_description=f"sonoforge: {NOTICE}"[:MOST_LETTERS],
        )
        report.SoftwareVersions = model_of(entry)
        return report


def _content(scan: Dataset, entry: dict[str, Any], identity: str) -> Dataset:
    """Build the content tree, TID 1500."""
    from highdicom import sr  # noqa: PLC0415 - an extra
    from pydicom.sr.codedict import codes  # noqa: PLC0415 - an extra

    classes = {name: _class_code(index, name) for index, name in enumerate(entry["probabilities"], start=1)}
    trusted = _YES_NO[entry["trust"]["in_distribution"]]
    frames = [entry["clip"]["best_frame"]] if "clip" in entry else None
    evaluations = [
        (
            _private("VERDICT", "How the answer is to be taken"),
            _private(entry["verdict"], entry["verdict"].capitalize()),
        ),
        (
            _private("LABEL", "Most probable class"),
            classes.get(entry["label"], _private("UNCERTAIN", "No label given")),
        ),
        *(
            (
                _private(f"QUESTION-{index}", f"Beyond the operating point of {name}"),
                _snomed(*_YES_NO[found["positive"]]),
            )
            for index, (name, found) in enumerate(entry["findings"].items(), start=1)
        ),
        *((_private("SET", "Class that cannot be ruled out"), classes[name]) for name in entry["set"]),
        (_private("KNOWN", "Like the images of the training"), _snomed(*trusted)),
        *(
            (_private("QUALITY", "Quality outside the training's range"), _private(name, name))
            for name in entry["quality"]["flags"]
        ),
    ]
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=uid("finding", identity), identifier="classification"),
        algorithm_id=sr.AlgorithmIdentification(
            name=entry["model"]["name"],
            version=entry["model"]["version"],
            parameters=[NOTICE, f"sha256 of the network: {entry['model']['sha256']}"],
        ),
        measurements=[
            sr.Measurement(
                name=_private(f"PROBABILITY-{index}", f"Probability of {name}"),
                value=entry["probabilities"][name],
                unit=codes.UCUM.NoUnits,
            )
            for index, name in enumerate(classes, start=1)
        ],
        qualitative_evaluations=[sr.QualitativeEvaluation(name, value) for name, value in evaluations],
        source_images=[sr.SourceImageForMeasurementGroup(scan.SOPClassUID, scan.SOPInstanceUID, frames)],
    )
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=uid("device", model_of(entry)), name="sonoforge", manufacturer_name="sonoforge", model_name=model_of(entry)
    )
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(
                observer_type=codes.DCM.Device, observer_identifying_attributes=device
            )
        ),
        procedure_reported=_private("PROCEDURE", "Image classification"),
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=[scan],
    )[0]


def _class_code(index: int, name: str) -> Code:
    return _snomed(_SNOMED[name], name.capitalize()) if name in _SNOMED else _private(f"CLASS-{index}", name)


def _snomed(value: str, meaning: str) -> Code:
    from pydicom.sr.coding import Code  # noqa: PLC0415 - an extra

    return Code(value, "SCT", meaning)


def _private(value: str, meaning: str) -> Code:
    from pydicom.sr.coding import Code  # noqa: PLC0415 - an extra

    return Code(value, SCHEME, meaning[:MOST_LETTERS])

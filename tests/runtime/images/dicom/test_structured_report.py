"""Answers as DICOM structured reports, read back by pydicom and by highdicom's own parser of TID 1500."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("highdicom", reason="structured reports are an extra: pip install 'sonoforge[dicom]'")

import pydicom.data
from highdicom.sr import srread
from PIL import Image
from pydicom import dcmread
from pydicom.sr.coding import Code
from pydicom.uid import ComprehensiveSRStorage

from program import sonoforge
from sonoforge.runtime.images.dicom.derived_objects import SCHEME, write_report
from sonoforge.runtime.images.limits import ImageError
from sonoforge.runtime.notice import NOTICE

SCAN = Path(pydicom.data.__file__).parent / "test_files" / "examples_rgb_color.dcm"
if not SCAN.exists():  # newer releases of pydicom keep the larger files elsewhere
    SCAN = Path(pydicom.data.__file__).parent / "test_files" / "CT_small.dcm"

ENTRY: dict[str, Any] = {
    "ok": True,
    "verdict": "do not use",
    "label": "benign",
    "probabilities": {"normal": 0.125, "benign": 0.625, "malignant": 0.25},
    "findings": {
        "lesion": {"probability": 0.875, "positive": True},
        "malignant": {"probability": 0.286, "positive": False},
    },
    "set": ["benign", "malignant"],
    "trust": {"in_distribution": False, "causes": ["unlike the training scans"]},
    "quality": {"flags": ["sharpness_low"]},
    "model": {"name": "mobilenetv2-busi", "version": "1.0.0", "sha256": "ab" * 32},
}


def test_the_report_says_what_the_answer_says(tmp_path: Path) -> None:
    report = srread(write_report(tmp_path, str(SCAN), ENTRY))
    assert report.SOPClassUID == ComprehensiveSRStorage
    (group,) = report.content.get_image_measurement_groups()
    measured = {item.name.meaning: item.value for item in group.get_measurements()}
    assert measured == {f"Probability of {name}": p for name, p in ENTRY["probabilities"].items()}
    said = [(item.name.meaning, item.value.meaning) for item in group.get_qualitative_evaluations()]
    assert said == [
        ("How the answer is to be taken", "Do not use"),
        ("Most probable class", "Benign"),
        ("Beyond the operating point of lesion", "Yes"),
        ("Beyond the operating point of malignant", "No"),
        ("Class that cannot be ruled out", "Benign"),
        ("Class that cannot be ruled out", "Malignant"),
        ("Like the images of the training", "No"),
        ("Quality outside the training's range", "sharpness_low"),
    ]
    # SNOMED CT's own codes, as pydicom's dictionary of the standard has them.
    from pydicom.sr.codedict import codes

    values = [item.value for item in group.get_qualitative_evaluations()]
    asked = [codes.SCT.Yes, codes.SCT.No]
    assert values[1:7] == [codes.SCT.Benign, *asked, codes.SCT.Benign, codes.SCT.Malignant, codes.SCT.No]
    algorithm = [item.TextValue for item in group[0].ContentSequence if item.name.meaning.startswith("Algorithm")]
    assert algorithm[:2] == ["mobilenetv2-busi", "1.0.0"] and NOTICE in algorithm


def test_it_belongs_to_the_scan_s_patient_and_study_in_a_series_of_its_own(tmp_path: Path) -> None:
    scan = dcmread(SCAN)
    first, second = (
        dcmread(write_report(tmp_path, str(SCAN), {**ENTRY, "set": chosen})) for chosen in ([], ["benign"])
    )
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "StudyDate", "AccessionNumber"):
        assert first.get(name) == scan.get(name)
    assert len({scan.SeriesInstanceUID, first.SeriesInstanceUID, second.SeriesInstanceUID}) == 3
    assert first.SOPInstanceUID != second.SOPInstanceUID
    (study,) = first.CurrentRequestedProcedureEvidenceSequence
    (image,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert image.ReferencedSOPInstanceUID == scan.SOPInstanceUID
    # No person has looked at it, and it says so where viewers look.
    assert (first.CompletionFlag, first.VerificationFlag, first.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert first.SeriesDescription == f"sonoforge: {NOTICE}"


def test_a_clip_s_report_names_its_best_frame(tmp_path: Path) -> None:
    path = write_report(tmp_path, str(SCAN), {**ENTRY, "clip": {"best_frame": 7}})
    (group,) = srread(path).content.get_image_measurement_groups()
    assert group.source_images[0].referenced_frame_numbers == [7]


def test_a_class_that_the_standard_has_no_code_for_keeps_its_name(tmp_path: Path) -> None:
    entry = {**ENTRY, "label": "fibroadenoma", "probabilities": {"cyst": 0.25, "fibroadenoma": 0.75}, "set": []}
    (group,) = srread(write_report(tmp_path, str(SCAN), entry)).content.get_image_measurement_groups()
    assert group.get_qualitative_evaluations()[1].value == Code("CLASS-2", SCHEME, "fibroadenoma")


def test_no_value_of_the_patient_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scan = dcmread(SCAN)
    scan.PatientName = "Secretname"  # of one component, which highdicom warns of and quotes
    scan.save_as(tmp_path / "scan.dcm")
    with warnings.catch_warnings(record=True) as said, caplog.at_level(logging.DEBUG):
        path = write_report(tmp_path, str(tmp_path / "scan.dcm"), ENTRY)
    assert dcmread(path).PatientName == "Secretname"
    assert "Secretname" not in caplog.text + "".join(str(each.message) for each in said)


def test_a_scan_without_a_study_is_refused_in_one_line(tmp_path: Path) -> None:
    scan = dcmread(SCAN)
    del scan.StudyInstanceUID
    scan.save_as(tmp_path / "scan.dcm")
    with pytest.raises(ImageError, match=r"^\S+scan\.dcm: has no StudyInstanceUID, .*$"):
        write_report(tmp_path, str(tmp_path / "scan.dcm"), ENTRY)
    assert [path.name for path in tmp_path.iterdir()] == ["scan.dcm"]


def test_classify_writes_one_report_for_each_dicom_file_and_none_twice(tmp_path: Path) -> None:
    study, reports = tmp_path / "study", tmp_path / "reports"
    study.mkdir()
    (study / "IM1").write_bytes(SCAN.read_bytes())
    Image.new("L", (300, 200), 90).save(study / "plain.png")
    done = sonoforge("classify", study, "--sr", reports, "--json")
    assert done.code == 0
    dicom, plain = done.json["results"]
    report = dcmread(dicom["sr"])
    assert report.Modality == "SR" and "sr" not in plain
    (group,) = srread(dicom["sr"]).content.get_image_measurement_groups()
    measured = [item.value for item in group.get_measurements()]
    assert measured == pytest.approx(list(dicom["probabilities"].values()), abs=1e-12)
    before = (reports / f"{report.SOPInstanceUID}.dcm").read_bytes()
    assert sonoforge("classify", study, "--sr", reports, "--quiet").code == 0
    assert [path.read_bytes() for path in reports.iterdir()] == [before]
    # Put into the study, as an archive would, it is no scan.
    (study / "IM2").write_bytes(before)
    again = sonoforge("classify", study, "--json")
    assert (again.code, again.json["summary"]["files"]) == (0, 2)
    assert again.json["summary"]["skipped"] == {"non-image DICOM object": 1}


def test_an_answer_stands_where_its_report_cannot_be_written(tmp_path: Path) -> None:
    scan = dcmread(SCAN)
    del scan.SOPInstanceUID
    scan.save_as(tmp_path / "scan.dcm")
    done = sonoforge("classify", tmp_path / "scan.dcm", "--sr", tmp_path / "reports", "--json")
    (entry,) = done.json["results"]
    assert done.code == 2 and entry["ok"] and "has no SOPInstanceUID" in entry["unwritten"][0]
    assert sonoforge("classify", tmp_path / "scan.dcm", "--sr", tmp_path, "--anonymous").code == 2

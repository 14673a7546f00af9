"""Structured reports and pictures of answers, read back by pydicom and by highdicom's own parser of TID 1500."""

from __future__ import annotations

import logging
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="reports and pictures are an extra: pip install 'sonoforge[dicom]'")

import pydicom.data
from highdicom.sr import srread
from PIL import Image
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.tag import Tag
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage

import bundle_factory as factory
import dicom_files
import dicom_peers
from program import refused, sonoforge
from sonoforge.runtime.images.dicom.derived_objects import SCHEME, write_capture, write_report
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
        "lesion": {"probability": 0.875, "positive": True, "threshold": 0.5},
        "malignant": {"probability": 0.286, "positive": False, "threshold": 0.375},
    },
    "set": ["benign", "malignant"],
    "trust": {"in_distribution": False, "causes": ["unlike the training scans"]},
    "quality": {"flags": ["sharpness_low"]},
    "model": {"name": "mobilenetv2-busi", "version": "1.0.0", "sha256": "ab" * 32},
}


def group_of(folder: Path, **changes: object) -> Any:
    (group,) = srread(write_report(folder, str(SCAN), {**ENTRY, **changes})).content.get_image_measurement_groups()
    return group


def test_the_report_says_what_the_answer_says(tmp_path: Path) -> None:
    group = group_of(tmp_path)
    measured = {item.name.meaning: item.value for item in group.get_measurements()}
    shares = {"Probability of yes to lesion": 0.875, "Yes to lesion from a probability of": 0.5}
    shares |= {"Probability of yes to malignant": 0.286, "Yes to malignant from a probability of": 0.375}
    assert measured == {f"Probability of {name}": p for name, p in ENTRY["probabilities"].items()} | shares
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
    values = [item.value for item in group.get_qualitative_evaluations()]
    asked = [codes.SCT.Yes, codes.SCT.No]
    assert values[1:7] == [codes.SCT.Benign, *asked, codes.SCT.Benign, codes.SCT.Malignant, codes.SCT.No]
    algorithm = [item.TextValue for item in group[0].ContentSequence if item.name.meaning.startswith("Algorithm")]
    assert algorithm[:2] == ["mobilenetv2-busi", "1.0.0"] and NOTICE in algorithm


def test_a_question_that_does_not_arise_is_not_answered(tmp_path: Path) -> None:
    no = {"lesion": {"probability": 0.1, "positive": False, "threshold": 0.5}}
    group = group_of(tmp_path, findings=no | {"malignant": ENTRY["findings"]["malignant"]})
    items = [*group.get_measurements(), *group.get_qualitative_evaluations()]
    said = [item.name.meaning for item in items if "malignant" in item.name.meaning]
    assert said == ["Probability of malignant"]


def test_a_clip_s_report_names_its_best_frame_and_a_class_without_a_code_keeps_its_name(tmp_path: Path) -> None:
    assert group_of(tmp_path, clip={"best_frame": 7}).source_images[0].referenced_frame_numbers == [7]
    own = group_of(tmp_path, label="fibroadenoma", probabilities={"cyst": 0.25, "fibroadenoma": 0.75}, set=[])
    assert own.get_qualitative_evaluations()[1].value == Code("CLASS-2", SCHEME, "fibroadenoma")


def test_a_report_belongs_to_the_scan_s_patient_and_study_in_a_series_of_its_own(tmp_path: Path) -> None:
    scan = dcmread(SCAN)
    first, second = (
        dcmread(write_report(tmp_path, str(SCAN), {**ENTRY, "set": chosen})) for chosen in ([], ["benign"])
    )
    assert first.SOPClassUID == ComprehensiveSRStorage
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "StudyDate", "AccessionNumber"):
        assert first.get(name) == scan.get(name)
    assert len({scan.SeriesInstanceUID, first.SeriesInstanceUID, second.SeriesInstanceUID}) == 3
    assert first.SOPInstanceUID != second.SOPInstanceUID
    (study,) = first.CurrentRequestedProcedureEvidenceSequence
    (image,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert image.ReferencedSOPInstanceUID == scan.SOPInstanceUID
    # No person has looked at it, and it says so where viewers look.
    found = (first.CompletionFlag, first.VerificationFlag, first.PreliminaryFlag)
    assert found == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    assert first.SeriesDescription == f"sonoforge: {NOTICE}"


def test_no_value_of_the_patient_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scan = dcmread(SCAN)
    scan.PatientName = "Secretname"  # of one component, which highdicom warns of and quotes
    scan.save_as(tmp_path / "scan.dcm")
    with warnings.catch_warnings(record=True) as said, caplog.at_level(logging.DEBUG):
        path = write_report(tmp_path, str(tmp_path / "scan.dcm"), ENTRY)
    assert dcmread(path).PatientName == "Secretname"
    assert "Secretname" not in caplog.text + "".join(str(each.message) for each in said)


def test_an_answer_stands_where_its_report_cannot_be_written(tmp_path: Path) -> None:
    for name in ("StudyInstanceUID", "SOPInstanceUID"):
        scan, path = dcmread(SCAN), tmp_path / name / "scan.dcm"
        delattr(scan, name)
        path.parent.mkdir()
        scan.save_as(path)
        with pytest.raises(ImageError, match=rf"^\S+scan\.dcm: .*{name}.*$"):
            write_report(path.parent, str(path), ENTRY)
        assert [file.name for file in path.parent.iterdir()] == ["scan.dcm"]
    done = sonoforge("classify", path, "--sr", tmp_path / "reports", "--json")
    (entry,) = done.json["results"]
    assert done.code == 2 and entry["ok"] and "SOPInstanceUID" in entry["unwritten"][0]
    assert sonoforge("classify", path, "--sr", tmp_path, "--anonymous").code == 2


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
    measured = [item.value for item in group.get_measurements() if "yes" not in item.name.meaning.lower()]
    assert measured == pytest.approx(list(dicom["probabilities"].values()), abs=1e-12)
    before = (reports / f"{report.SOPInstanceUID}.dcm").read_bytes()
    assert sonoforge("classify", study, "--sr", reports, "--quiet").code == 0
    assert [path.read_bytes() for path in reports.iterdir()] == [before]
    # Put into the study, as an archive would, it is not a scan.
    (study / "IM2").write_bytes(before)
    again = sonoforge("classify", study, "--json")
    assert (again.code, again.json["summary"]["files"]) == (0, 2)
    assert again.json["summary"]["skipped"] == {"non-image DICOM object": 1}


def test_the_picture_is_that_of_overlay_in_the_scan_s_study(tmp_path: Path) -> None:
    bundle = factory.write_bundle(tmp_path / "b")
    scan = dicom_peers.write_scan(tmp_path / "a.dcm", 1, ImageLaterality="L", StudyTime=None)
    command = ("classify", scan, "--bundle", bundle, "--overlay", tmp_path / "seen", "--sc", tmp_path / "sc", "--json")
    (entry,) = sonoforge(*command).json["results"]
    capture, original = dcmread(entry["sc"]), dcmread(scan)
    assert capture.SOPClassUID == SecondaryCaptureImageStorage
    assert np.array_equal(capture.pixel_array, np.asarray(Image.open(entry["overlay"])))
    for name in ("PatientName", "PatientID", "StudyInstanceUID", "ImageLaterality", "InstanceNumber"):
        assert capture[name] == original[name]
    assert capture.SeriesInstanceUID != original.SeriesInstanceUID
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == original.SOPInstanceUID
    assert NOTICE in capture.SeriesDescription and NOTICE in capture.DerivationDescription
    before = Path(entry["sc"]).read_bytes()
    (again,) = sonoforge(*command).json["results"]
    assert again["sc"] == entry["sc"] and Path(again["sc"]).read_bytes() == before  # filed once
    if shutil.which("dciodvfy"):
        done = subprocess.run(["dciodvfy", entry["sc"]], capture_output=True, text=True, check=False)
        assert "Error" not in done.stdout + done.stderr
    assert "--sc" in refused("classify", scan, "--sc", "x", "--anonymous")


def test_a_clip_s_picture_names_its_best_frame(tmp_path: Path) -> None:
    bundle = factory.write_bundle(tmp_path / "b")
    clip = dicom_files.data_set(dicom_files.scan(3), StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4")
    path = dicom_files.save(clip, tmp_path / "clip.dcm")
    (entry,) = sonoforge("classify", path, "--bundle", bundle, "--sc", tmp_path / "sc", "--json").json["results"]
    (source,) = dcmread(entry["sc"]).SourceImageSequence
    assert source.ReferencedFrameNumber == entry["clip"]["best_frame"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Modality", None),
        ("Manufacturer", None),
        ("PatientSex", b"female"),
        ("PatientBirthDate", b"12.03.1971"),
        ("StudyDate", b"0 "),
        ("StudyTime", b"10 o'clock"),
        ("ReferringPhysicianName", b"A\\B "),
        ("FrameOfReferenceUID", b"1.2\\1.3 "),
        ("InstanceNumber", b"0 "),
        ("SpecificCharacterSet", b"NONSENSE"),
    ],
)
def test_what_a_machine_leaves_out_or_writes_wrongly_keeps_no_report_from_being_written(
    tmp_path: Path, name: str, value: bytes | None
) -> None:
    scan = dcmread(dicom_peers.write_scan(tmp_path / "scan.dcm", 1))
    tag = Tag(tag_for_keyword(name) or 0)
    if value is None:
        scan.pop(tag, None)
    else:
        scan[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
    dicom_files.save(scan, tmp_path / "scan.dcm")
    picture = Image.new("RGB", (40, 30))
    for written in (
        write_report(tmp_path, str(tmp_path / "scan.dcm"), ENTRY),
        write_capture(tmp_path, str(tmp_path / "scan.dcm"), ENTRY, lambda: picture),
    ):
        read = dcmread(written)
        assert (read.PatientName, read.PatientID) == (dicom_files.PLANTED, dicom_files.PLANTED)
        if name in ("PatientSex", "PatientBirthDate", "StudyDate", "StudyTime"):
            assert not read[name].value


def test_a_name_in_another_script_is_that_of_the_scan(tmp_path: Path) -> None:
    scan = dcmread(dicom_peers.write_scan(tmp_path / "scan.dcm", 1))
    scan.SpecificCharacterSet = ["", "ISO 2022 IR 87"]  # PS3.5, annex H
    scan.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    dicom_files.save(scan, tmp_path / "scan.dcm")
    assert dcmread(write_report(tmp_path, str(tmp_path / "scan.dcm"), ENTRY)).PatientName == scan.PatientName


@pytest.mark.parametrize("kind", ["3", "3.1", "6", "6.1", "6.2", "7", "7.4", "6.3", "77.1.4.1"])
def test_a_report_refers_to_a_scan_of_any_class_by_its_own(tmp_path: Path, kind: str) -> None:
    own = f"1.2.840.10008.5.1.4.1.1.{kind}"
    path = dicom_peers.write_scan(tmp_path / "scan.dcm", 1, SOPClassUID=own)
    report = srread(write_report(tmp_path, str(path), ENTRY))
    found = [one for one in report.iterall() if one.keyword == "ReferencedSOPClassUID"]
    assert len(found) >= 2 and {str(one.value) for one in found} == {own}

"""Pictures of answers as DICOM objects, read back by pydicom and judged by dciodvfy where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="secondary captures are an extra: pip install 'sonoforge[dicom]'")

from PIL import Image
from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage

import bundle_factory as factory
import dicom_files
import dicom_peers
from program import refused, sonoforge
from sonoforge.runtime.notice import NOTICE


def test_it_is_the_picture_of_overlay_in_the_scan_s_study(tmp_path: Path) -> None:
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
    assert "--sc writes objects that hold the patient's name" in refused("classify", scan, "--sc", "x", "--anonymous")


def test_a_clip_s_picture_names_its_best_frame(tmp_path: Path) -> None:
    bundle = factory.write_bundle(tmp_path / "b")
    clip = dicom_files.data_set(dicom_files.scan(3), StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4")
    path = dicom_files.save(clip, tmp_path / "clip.dcm")
    (entry,) = sonoforge("classify", path, "--bundle", bundle, "--sc", tmp_path / "sc", "--json").json["results"]
    (source,) = dcmread(entry["sc"]).SourceImageSequence
    assert source.ReferencedFrameNumber == entry["clip"]["best_frame"]

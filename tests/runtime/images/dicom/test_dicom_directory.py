"""DICOMDIR: the files it names, and the tricks it may play."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pydicom", reason="reading DICOM is an extra: pip install 'sonoforge[dicom]'")

import pydicom.data
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.fileset import FileSet
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from program import sonoforge
from sonoforge.runtime.images.dicom.header import listed_images
from sonoforge.runtime.images.inputs import expand
from sonoforge.runtime.images.limits import ImageError

SHIPPED = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests"


def write_directory(path: Path, *names: object) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MediaStorageDirectoryStorage, "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    file.DirectoryRecordSequence = []
    for name in names:
        record = Dataset()
        record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", name
        file.DirectoryRecordSequence.append(record)
    file.save_as(path)
    return path


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "TINY_ALPHA/DICOMDIR"])
def test_names_the_files_that_pydicom_s_file_set_names(name: str) -> None:
    found = listed_images(SHIPPED / name)
    expected = {str(Path(instance.path)) for instance in FileSet(SHIPPED / name)}
    assert set(found) == expected and len(found) == len(set(found)) > 20


@pytest.mark.parametrize(
    "name", [["..", "x"], "../x", "/etc/passwd", ["A", "/etc"], ["A", ".", "..", "x"], "C:\\x", "."]
)
def test_a_file_outside_the_folder_is_refused(tmp_path: Path, name: object) -> None:
    path = write_directory(tmp_path / "DICOMDIR", name)
    with pytest.raises(ImageError, match="names a file outside its folder"):
        listed_images(path)
    files, failures, _ = expand([str(path)], recursive=False)
    assert files == [str(path)] and list(failures) == [str(path)]


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "disc").mkdir()
    (tmp_path / "disc" / "IM1").symlink_to(tmp_path / "secret")
    with pytest.raises(ImageError, match="outside"):
        listed_images(write_directory(tmp_path / "disc" / "DICOMDIR", "IM1"))


def test_classify_answers_each_file_of_a_directory(tmp_path: Path) -> None:
    path = write_directory(tmp_path / "DICOMDIR", "MISSING", ["A", "IM1"])
    done = sonoforge("classify", path, "--json")
    assert [answer["error"]["code"] for answer in done.json["results"]] == ["not_found"] * 2
    path.write_bytes(path.read_bytes()[:300])
    assert sonoforge("classify", path, "--json").code == 2

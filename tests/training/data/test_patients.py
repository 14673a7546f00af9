"""Patients by file names, folders and DICOM headers: what is proposed, and what it does to groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dicom_files
from program import refused, sonoforge, succeed
from scans import save
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.cache import ImageCache, open_cache
from sonoforge.training.data.datasets import Dataset, Item, read_dataset
from sonoforge.training.data.patients import grouped, patients_by, propose

PATIENTS, FRAMES = 8, 5


def frame(patient: int, number: int) -> np.ndarray:
    """Frames of one patient are alike, and say nothing of the class."""
    own, noise = np.random.default_rng(patient), np.random.default_rng((patient, number))
    picture = Image.fromarray(own.integers(0, 256, (6, 6)).astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(picture) * 0.7 + noise.normal(0, 30, (64, 64)) + 30, 0, 255).astype(np.uint8)


def hospital(root: Path, name: str) -> ImageCache:
    for patient in range(PATIENTS):
        for number in range(FRAMES):
            label, view = ("benign", "malignant")[patient % 2], "LR"[number % 2]
            save(root / "data" / label / name.format(p=patient, n=number, v=view, l=label), frame(patient, number))
    return open_cache(read_dataset(root / "data"), 64, root / "cache")


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("P{p:02}_{n:03}.png", "{patient}_*"),
        ("patient {p} ({n}).png", "{patient} (*)"),
        ("case-{p:03}-frame-{n}.png", "{patient}-frame-*"),
        ("case{p}img{n}.png", "{patient}img*"),
        ("{l}_{p}_{v}_{n}.png", "{patient}_*_*"),
        ("study.{p}.{n}.png", "{patient}.*"),
        ("p{p}/{n}.png", "{patient}/*"),
        ("p{p}/study1/{n}.png", "{patient}/*/*"),
    ],
)
def test_names_and_folders_suggest_the_patients(tmp_path: Path, name: str, pattern: str) -> None:
    cache = hospital(tmp_path, name)
    found = propose(cache.dataset)
    assert found is not None
    assert (found["groups_from"], found["patients"], found["largest"]) == (pattern, PATIENTS, FRAMES)
    names = patients_by(pattern, cache.dataset)
    patients = [
        int(np.argmin([np.abs(frame(p, 0) - image[..., 0].astype(int)).sum() for p in range(PATIENTS)]))
        for image in cache.images
    ]
    pairs = {(name, patient) for name, patient in zip(names, patients, strict=True)}
    assert len(pairs) == PATIENTS, "one name a patient"


@pytest.mark.parametrize(
    "name", ["{l} ({p}{n}).png", "{p}{n}.png", "IMG_{p}{n}.png", "{l}/{p}{n}.png", "scan_{n}_{p}{n}{p}.png"]
)
def test_nothing_is_suggested_where_names_only_count(tmp_path: Path, name: str) -> None:
    found = propose(hospital(tmp_path, name).dataset)
    assert found is None or found["patients"] != PATIENTS


def test_given_groups_need_no_proposal_and_go_before_a_pattern(tmp_path: Path) -> None:
    cache = hospital(tmp_path, "P{p:02}_{n:03}.png")
    rows = [f"{item.path},{'one' if i < 3 else ''}\n" for i, item in enumerate(cache.dataset.items)]
    (tmp_path / "data" / "groups.csv").write_text("file,group\n" + "".join(rows))
    dataset = grouped(read_dataset(tmp_path / "data"), "{patient}_*")
    assert [item.group for item in dataset.items][:5] == ["one", "one", "one", "P00", "P00"]
    assert propose(dataset) is None


def test_headers_name_patients_without_their_names(tmp_path: Path) -> None:
    items = []
    for number, patient in enumerate(("Doe^Jane", "Doe^Jane", "", "")):
        written = dicom_files.data_set(dicom_files.scan())
        written.PatientID, written.StudyInstanceUID = patient, f"1.2.{3 if number < 3 else 4}"
        dicom_files.save(written, tmp_path / f"{number}.dcm")
        items.append(Item(f"{number}.dcm", 0))
    (tmp_path / "x.png").write_bytes(b"no DICOM")
    found = patients_by("dicom", Dataset("d", tmp_path, ("a",), (*items, Item("x.png", 0))))
    assert found[0] == found[1] and len(set(found)) == 4 and found[4] is None
    assert "Doe" not in "".join(filter(None, found))


def test_a_pattern_that_is_none_or_fits_nothing_is_refused(tmp_path: Path) -> None:
    dataset = hospital(tmp_path, "P{p:02}_{n:03}.png").dataset
    for pattern, said in (
        ("*_*", "such as '{patient}_"),
        ("{patient}#*", "fits none of the images, such as benign/P00"),
    ):
        with pytest.raises(SonoforgeError, match=said.replace("{", r"\{").replace("*", r"\*")):
            patients_by(pattern, dataset)


def test_the_audit_warns_proposes_and_takes_the_proposal(tmp_path: Path) -> None:
    hospital(tmp_path, "P{p:02}_{n:03}.png")
    place = ("--data", tmp_path / "data", "--set", f"cache.folder={tmp_path / 'cache'}")
    done = sonoforge("data", "audit", *place, "--html", tmp_path / "a.html")
    assert "both sides of a fold" in done.out and "names suggest 8 patients" in done.out
    assert "--groups-from '{patient}_*'" in done.out and "suggest 8 patients" in (tmp_path / "a.html").read_text()
    again = succeed("data", "audit", *place, "--groups-from", "{patient}_*").json
    assert again["given_groups"] == PATIENTS and again["proposed_groups"] is None
    assert sum(own["groups"] for own in again["classes"].values()) == PATIENTS
    assert "fits none" in refused("data", "audit", *place, "--groups-from", "{patient}/x/*")


def test_the_patients_of_a_published_set_are_those_of_its_table(shared: Path) -> None:
    dataset = read_dataset(shared / "data" / "BUS-BRA")
    pairs = set(zip(patients_by("{patient}-*", dataset), (item.group for item in dataset.items), strict=True))
    assert len(pairs) == len({group for _, group in pairs}) == 1064

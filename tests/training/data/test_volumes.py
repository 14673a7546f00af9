"""ACDC, SLiver07 and IDRiD, written here in their official layouts: slices, label maps, patients, damaged files."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from program import sonoforge, succeed
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.cache import open_cache
from sonoforge.training.data.collections.volumes import open_volume, slice_levels
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.data.masks import check_disjoint, read_structures

nibabel = pytest.importorskip("nibabel")

SHAPE = (20, 16, 3)  # columns, rows, slices


def draw_labels(structures: int, seed: int = 0) -> NDArray[np.uint8]:
    """A label map in which slice 0 is empty, and each further one has blocks of all structures."""
    labels = np.zeros(SHAPE, np.uint8)
    for label in range(1, structures + 1):
        labels[4 * label : 4 * label + 4, 2 + seed : 9 + seed, 1:] = label
    return labels


def write_nifti(path: Path, voxels: NDArray[np.generic], unit: str = "mm") -> None:
    image = nibabel.Nifti1Image(voxels, np.diag([1.5, 1.25, 8.0, 1.0]))
    image.header.set_xyzt_units(unit)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


def write_acdc(root: Path, patients: int = 2, unit: str = "mm") -> Path:
    for number in range(1, patients + 1):
        folder = root / "training" / f"patient{number:03d}"
        for frame in (1, 12):
            chance = np.random.default_rng(number * 100 + frame)
            name = f"patient{number:03d}_frame{frame:02d}"
            write_nifti(folder / f"{name}.nii.gz", chance.integers(0, 2000, SHAPE).astype(np.int16), unit)
            write_nifti(folder / f"{name}_gt.nii.gz", draw_labels(3, number), unit)
        (folder / "Info.cfg").write_text("ED: 1\nES: 12\nGroup: DCM\nHeight: 184.0\n")
    return root


def write_mhd(path: Path, voxels: NDArray[np.generic], kind: str, **entries: str) -> None:
    data = entries.pop("ElementDataFile", path.with_suffix(".raw").name)
    lines = {
        "ObjectType": "Image", "NDims": "3", "DimSize": " ".join(map(str, voxels.shape)),
        "ElementSpacing": "0.7 0.7 2.5", "ElementType": kind, **entries, "ElementDataFile": data,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))
    content = voxels.T.tobytes()
    packed = entries.get("CompressedData") == "True"
    path.with_name(data).write_bytes(zlib.compress(content) if packed else content)


def write_sliver(root: Path, lesions: bool = False, **entries: str) -> Path:
    for number in (1, 2):
        chance = np.random.default_rng(number)
        voxels = chance.integers(-1000, 1000, SHAPE).astype(np.int16)
        write_mhd(root / f"liver-orig{number:03d}.mhd", voxels, "MET_SHORT", **entries)
        labels = draw_labels(2 if lesions and number == 2 else 1)
        write_mhd(root / f"liver-seg{number:03d}.mhd", labels, "MET_UCHAR", **entries)
    return root


def write_idrid(root: Path) -> Path:
    for split, numbers in (("a. Training Set", (1, 2)), ("b. Testing Set", (55,))):
        for number in numbers:
            chance = np.random.default_rng(number)
            images = root / "A. Segmentation" / "1. Original Images" / split
            masks = root / "A. Segmentation" / "2. All Segmentation Groundtruths" / split / "5. Optic Disc"
            images.mkdir(parents=True, exist_ok=True)
            masks.mkdir(parents=True, exist_ok=True)
            Image.fromarray(chance.integers(0, 256, (24, 36, 3), np.uint8)).save(images / f"IDRiD_{number:02d}.jpg")
            disc = np.zeros((24, 36, 3), np.uint8)
            disc[6:18, 6:18, 0] = 255  # red, as published
            Image.fromarray(disc).save(masks / f"IDRiD_{number:02d}_OD.tif")
    return root


def read_facts(folder: Path) -> list[dict[str, str]]:
    with (folder / "groups.csv").open() as file:
        return list(csv.DictReader(file))


def test_acdc_becomes_slices_with_a_mask_for_each_structure(tmp_path: Path) -> None:
    succeed("data", "import", "acdc", write_acdc(tmp_path / "ACDC"), tmp_path / "out")
    rows = read_facts(tmp_path / "out")
    assert len(rows) == 2 * 2 * 3
    assert rows[3] == {
        "file": "heart/patient001_frame12_slice001.png", "group": "patient001", "phase": "ES", "split": "train",
        "volume": "patient001_frame12", "slice": "0", "mm_x": "1.5", "mm_y": "1.25", "mm_z": "8",
    }  # fmt: skip
    source = tmp_path / "ACDC/training/patient001"
    voxels = np.asarray(nibabel.load(source / "patient001_frame12.nii.gz").dataobj)[:, :, 2].T
    low, high = np.percentile(np.asarray(nibabel.load(source / "patient001_frame12.nii.gz").dataobj), (0.5, 99.5))
    levels = np.asarray(Image.open(tmp_path / "out/heart/patient001_frame12_slice003.png"))
    expected = np.clip((voxels - low) / (high - low), 0, 1) * 255
    assert np.abs(levels - expected).max() <= 0.51
    for label, name in enumerate(("right-ventricle", "myocardium", "left-ventricle"), start=1):
        mask = np.asarray(Image.open(tmp_path / f"out/heart/patient001_frame12_slice003_mask_{name}.png"))
        assert np.array_equal(mask > 0, label == draw_labels(3, 1)[:, :, 2].T)


def test_imported_structures_come_back_from_the_cache_in_the_order_of_their_names(tmp_path: Path) -> None:
    succeed("data", "import", "acdc", write_acdc(tmp_path / "ACDC"), tmp_path / "out")
    with pytest.raises(SonoforgeError, match="found a single class folder 'heart'"):
        read_dataset(tmp_path / "out")
    dataset = read_dataset(tmp_path / "out", fewest_classes=1)
    assert dataset.structures == ("left-ventricle", "myocardium", "right-ventricle")
    assert {item.group for item in dataset.items} == {"patient001", "patient002"}
    cache = open_cache(dataset, 32, tmp_path / "cache")
    masks = read_structures(cache, np.arange(3), tmp_path / "cache")
    for size in (32, 45, 17):  # borders run through pixels, which neighbours share
        own = cache.at(size)
        check_disjoint(dataset, np.arange(3), read_structures(own, np.arange(3), tmp_path / "cache"))
    assert masks.shape == (3, 3, 32, 32)
    assert masks[0].max() == 0  # slice 1 is empty
    # Blocks of 4 of 20 columns and 7 of 16 rows.
    share = masks[1].astype(float).mean((1, 2)) / 255
    assert share == pytest.approx([0.2 * 7 / 16] * 3, abs=0.01)
    assert masks[1, 0, 12].argmax() > masks[1, 1, 12].argmax() > masks[1, 2, 12].argmax()


def test_slices_without_an_outline_can_be_left_out(tmp_path: Path) -> None:
    succeed("data", "import", "acdc", write_acdc(tmp_path / "ACDC"), tmp_path / "out", "--outlined")
    assert {row["slice"] for row in read_facts(tmp_path / "out")} == {"1", "2"}


def test_without_a_unit_the_distances_are_not_known(tmp_path: Path) -> None:
    write_acdc(tmp_path / "ACDC", unit="unknown")
    (tmp_path / "ACDC/training/patient001/Info.cfg").unlink()
    succeed("data", "import", "acdc", tmp_path / "ACDC", tmp_path / "out")
    rows = read_facts(tmp_path / "out")
    assert {row["mm_x"] for row in rows} == {""}
    assert [row["phase"] for row in rows[:6]] == ["ED"] * 3 + ["ES"] * 3


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("truncated", r"patient001_frame01.nii.gz: its voxels end early or are damaged; download it again"),
        ("no header", r"patient001_frame01.nii.gz: found no NIfTI header"),
        ("no labels", r"patient001_frame01.nii.gz: found no patient001_frame01_gt.nii.gz beside it"),
        ("size", r"patient001_frame01_gt.nii.gz: found 20x16x2 voxels, expected 20x16x3 as its image"),
        ("label", r"patient001_frame01_gt.nii.gz: found label 7, expected 0 background, 1 right-ventricle, 2 myoc"),
        ("4d", r"patient001_frame01.nii.gz: found 20x16x3x2 voxels, expected three dimensions"),
    ],
)
def test_a_damaged_volume_is_left_out_with_one_line(tmp_path: Path, damage: str, message: str) -> None:
    folder = write_acdc(tmp_path / "ACDC") / "training/patient001"
    image, labels = folder / "patient001_frame01.nii.gz", folder / "patient001_frame01_gt.nii.gz"
    if damage == "truncated":
        image.write_bytes(gzip.compress(gzip.decompress(image.read_bytes())[:-500]))
    elif damage == "no header":
        image.write_bytes(b"no volume")
    elif damage == "no labels":
        labels.unlink()
    elif damage == "size":
        write_nifti(labels, draw_labels(3)[:, :, :2])
    elif damage == "label":
        write_nifti(labels, np.where(draw_labels(3) == 2, 7, 0).astype(np.uint8))
    else:
        write_nifti(image, np.zeros((*SHAPE, 2), np.int16))
    done = succeed("data", "import", "acdc", tmp_path / "ACDC", tmp_path / "out", "--json")
    messages = set(done.json["left_out"].values())
    assert len(messages) == 1
    (found,) = messages
    assert re.search(message, found)
    assert "\n" not in found
    assert done.json["images"] == {"heart": 9}
    assert {row["volume"] for row in read_facts(tmp_path / "out")} == {
        "patient001_frame12", "patient002_frame01", "patient002_frame12",
    }  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
def test_sliver07_is_shown_in_a_window_of_hounsfield_units(tmp_path: Path, packed: bool) -> None:
    entries = {"CompressedData": "True"} if packed else {}
    succeed(
        "data", "import", "sliver07", write_sliver(tmp_path / "CT", **entries), tmp_path / "out", "--window=-100,300"
    )
    rows = read_facts(tmp_path / "out")
    assert rows[0] == {
        "file": "liver/liver-orig001_slice001.png", "group": "liver-orig001", "volume": "liver-orig001", "slice": "0",
        "mm_x": "0.7", "mm_y": "0.7", "mm_z": "2.5",
    }  # fmt: skip
    voxels = np.random.default_rng(1).integers(-1000, 1000, SHAPE).astype(np.int16)
    levels = np.asarray(Image.open(tmp_path / "out/liver/liver-orig001_slice002.png")).astype(float)
    assert np.abs(levels - np.clip((voxels[:, :, 1].T + 100) / 400, 0, 1) * 255).max() <= 0.51
    mask = np.asarray(Image.open(tmp_path / "out/liver/liver-orig001_slice002_mask_liver.png")) > 0
    assert np.array_equal(mask, draw_labels(1)[:, :, 1].T == 1)
    assert read_dataset(tmp_path / "out", 1).structures == ("liver",)


def test_where_a_set_has_lesions_they_are_a_second_structure(tmp_path: Path) -> None:
    succeed("data", "import", "sliver07", write_sliver(tmp_path / "CT", lesions=True), tmp_path / "out")
    assert read_dataset(tmp_path / "out", 1).structures == ("lesion", "liver")


def test_metaimage_of_the_other_byte_order(tmp_path: Path) -> None:
    voxels = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    write_mhd(tmp_path / "a.mhd", voxels.astype(">i2"), "MET_SHORT", BinaryDataByteOrderMSB="True")
    write_mhd(tmp_path / "b.mhd", voxels.astype("<i2"), "MET_SHORT")
    for name in ("a", "b"):
        assert np.array_equal(open_volume(tmp_path / f"{name}.mhd").voxels(), voxels)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"ElementDataFile": "../elsewhere.raw"},
            "found data file '../elsewhere.raw', expected the name of a file beside",
        ),
        ({"DimSize": "20 16"}, "found 20x16 voxels, expected three dimensions"),
        ({"DimSize": "20 16 many"}, "expected a MetaImage header with DimSize"),
        ({"DimSize": "99999 99999 99"}, "found 99999x99999x99 voxels, expected 1073741824 at most"),
        ({"ElementType": "MET_STRING"}, "expected a MetaImage header"),
    ],
)
def test_a_metaimage_header_that_cannot_be_used_is_refused(
    tmp_path: Path, entries: dict[str, str], message: str
) -> None:
    write_mhd(tmp_path / "good.mhd", np.zeros(SHAPE, np.int16), "MET_SHORT")
    text = (tmp_path / "good.mhd").read_text().splitlines()
    kept = [line for line in text if line.partition(" ")[0] not in entries]
    (tmp_path / "a.mhd").write_text("\n".join([*kept, *(f"{key} = {value}" for key, value in entries.items())]))
    with pytest.raises(SonoforgeError, match=message):
        open_volume(tmp_path / "a.mhd")


@pytest.mark.parametrize(
    ("left", "message"), [(None, "cannot be read"), (100, "found 100 bytes, expected 1920 for 20x16")]
)
def test_a_header_without_its_voxels_is_refused(tmp_path: Path, left: int | None, message: str) -> None:
    write_mhd(tmp_path / "a.mhd", np.zeros(SHAPE, np.int16), "MET_SHORT")
    raw = tmp_path / "a.raw"
    raw.unlink() if left is None else raw.write_bytes(raw.read_bytes()[:left])
    with pytest.raises(SonoforgeError, match=message):
        slice_levels(tmp_path / "a.mhd", 0)


def test_idrid_becomes_photographs_with_their_optic_disc(tmp_path: Path) -> None:
    succeed("data", "import", "idrid", write_idrid(tmp_path / "IDRiD"), tmp_path / "out")
    assert [(row["file"], row["split"]) for row in read_facts(tmp_path / "out")] == [
        ("fundus/IDRiD_01.png", "train"), ("fundus/IDRiD_02.png", "train"), ("fundus/IDRiD_55.png", "test"),
    ]  # fmt: skip
    mask = np.asarray(Image.open(tmp_path / "out/fundus/IDRiD_55_mask_optic-disc.png")) > 0
    assert mask.shape == (24, 36)
    assert mask[6:18, 6:18].all() and mask.sum() == 144
    assert Image.open(tmp_path / "out/fundus/IDRiD_55.png").mode == "RGB"


@pytest.mark.parametrize("name", ["acdc", "sliver07", "idrid"])
def test_another_folder_is_refused_and_settings_of_other_sets_are_too(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    done = sonoforge("data", "import", name, tmp_path / "empty", tmp_path / "out")
    assert done.code == 2
    assert "expected" in done.err and "see sonoforge data list" in done.err
    done = sonoforge("data", "import", name, tmp_path / "empty", tmp_path / "out", "--mode", "roi")
    assert done.code == 2
    assert f"{name}: found --mode, which it does not take" in done.err


def test_structures_that_overlap_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "set" / "eye"
    folder.mkdir(parents=True)
    Image.new("L", (16, 16)).save(folder / "a.png")
    for name, box in (("disc", (2, 2, 12, 12)), ("cup", (4, 4, 8, 8))):
        mask = Image.new("L", (16, 16))
        mask.paste(255, box)
        mask.save(folder / f"a_mask_{name}.png")
    dataset = read_dataset(tmp_path / "set", 1)
    masks = read_structures(open_cache(dataset, 16, tmp_path / "cache"), np.arange(1), tmp_path / "cache")
    with pytest.raises(SonoforgeError, match=r"a.png: masks of cup and disc overlap"):
        check_disjoint(dataset, np.arange(1), masks)

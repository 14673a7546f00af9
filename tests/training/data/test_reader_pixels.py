"""The pixels and masks that readers write, against closed forms and the publishers' own libraries."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import cbis as films
import published_sets as sets
from dicom_files import data_set, plant
from dicom_files import save as save_dicom
from program import Finished, succeed
from published_sets import CATEGORIES, HEIGHT, LESION, SHAPE, WIDTH, draw_labels, picture
from scans import draw_scan, save
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.cache import open_cache
from sonoforge.training.data.collections.importing import ImportSettings
from sonoforge.training.data.collections.objects import Outline, draw, polygon, square_around
from sonoforge.training.data.collections.volumes import LabelledVolume, open_volume
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.data.labelled_images import read_structures
from sonoforge.training.data.readers import cbis_ddsm
from sonoforge.training.data.readers.coco import unpack_runs

nibabel = pytest.importorskip("nibabel")


def read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


def imported(name: str, tmp_path: Path, *options: object, form: str = "") -> Path:
    """Write a set, import it, and return where it is."""
    if not (tmp_path / "set").exists():
        sets.WRITERS[form or name](tmp_path / "set")
    succeed("data", "import", name, tmp_path / "set", tmp_path / "out", *options)
    return tmp_path / "out"


# ---- annotated objects


def official_mask(segmentation: object) -> NDArray[np.bool_]:
    """The mask by the COCO authors' library."""
    mask = pytest.importorskip("pycocotools.mask")
    return mask.decode(mask.merge(mask.frPyObjects(segmentation, HEIGHT, WIDTH))).astype(bool)


@pytest.mark.parametrize("form", ["coco", "coco of roboflow", "yolo of roboflow"])
def test_masks_are_those_of_the_coco_authors_and_pictures_are_unchanged(tmp_path: Path, form: str) -> None:
    out = imported(form.split(" ", maxsplit=1)[0], tmp_path, "--masks", form=form)
    official = official_mask([LESION])
    sources = [np.asarray(Image.open(path)) for path in (tmp_path / "set").rglob("*.[pj][np]g")]
    for item in read_dataset(out).items:
        assert any(np.array_equal(read(out / item.path), source) for source in sources)
        for mask in item.masks:
            found = read(out / mask) > 0
            assert (found & official).sum() / (found | official).sum() > 0.97


def test_polygons_are_filled_by_the_centres_of_pixels() -> None:
    """A closed form (half planes of a convex polygon, asked at each centre), and the COCO authors' library."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    points = np.reshape(LESION, (-1, 2))
    sides = [
        (x1 - x0) * (rows - y0) - (y1 - y0) * (columns - x0)
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True)
    ]
    expected = np.all(np.stack(sides) > 0, axis=0)
    found = draw(Outline((polygon(LESION, ""),)), (HEIGHT, WIDTH), False, Path("x"))
    assert expected.sum() > 1000 and np.array_equal(found, expected)
    for seed in range(20):
        turns = np.arange(12) / 1.91
        radii = np.random.default_rng(seed).uniform(8, 28, (12, 1))
        star = ([40, 30] + radii * np.stack([np.cos(turns), np.sin(turns)], axis=1)).ravel().tolist()
        one = draw(Outline((polygon(star, ""),)), (HEIGHT, WIDTH), False, Path("x"))
        differ = one != official_mask([star])
        near = np.zeros_like(differ)  # only on the edge, where the two differ on what is inside
        near[1:-1, 1:-1] = ~(one[:-2, 1:-1] & one[2:, 1:-1] & one[1:-1, :-2] & one[1:-1, 2:]) | ~one[1:-1, 1:-1]
        assert (differ & ~near).sum() == 0 and differ.sum() < 0.06 * one.sum()


@pytest.mark.parametrize("packed", [True, False])
def test_runs_are_those_of_the_coco_authors(tmp_path: Path, packed: bool) -> None:
    mask = pytest.importorskip("pycocotools.mask")
    for seed in range(10):
        shape = np.random.default_rng(seed).random((HEIGHT, WIDTH)) > (0.02 if seed % 2 else 0.97)
        runs = mask.encode(np.asfortranarray(shape.astype(np.uint8)))
        counts = unpack_runs(runs["counts"].decode())
        outline = Outline(runs=tuple(counts), size=(HEIGHT, WIDTH))
        assert np.array_equal(draw(outline, (HEIGHT, WIDTH), False, Path("x")), shape)
    for i, _ in enumerate(CATEGORIES):
        save(tmp_path / "set" / f"{i}.png", picture(i))
    runs = {"size": [HEIGHT, WIDTH], "counts": runs["counts"].decode() if packed else counts}
    (tmp_path / "set" / "labels.json").write_text(json.dumps(sets.coco_file(["0.png", "1.png"], [1, 2], runs)))
    out = imported("coco", tmp_path, "--masks")
    for name, number in (("benign", 0), ("malignant", 1)):
        assert np.array_equal(read(out / name / f"{number}_mask.png") > 0, shape)


@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_each_class_of_pictures_with_several_is_a_question_of_its_own(tmp_path: Path, form: str) -> None:
    root = tmp_path / "set"
    objects = [(0, 1), (0, 2), (1, 2), (1, 2)]  # picture and category; the third picture has none
    expected = {"benign": {0}, "malignant": {0, 1}}
    if form == "coco":
        for number in range(3):
            save(root / f"{number}.png", picture(number))
        table = sets.coco_file([f"{number}.png" for number in range(3)], [1, 1, 1])
        table["annotations"] = [
            {"id": i, "image_id": image, "category_id": category, "segmentation": [LESION], "bbox": [10, 8, 46, 43]}
            for i, (image, category) in enumerate(objects)
        ]
        (root / "labels.json").write_text(json.dumps(table))
        official = pytest.importorskip("pycocotools.coco").COCO(root / "labels.json")
        assert expected == {name: set(official.getImgIds(catIds=[i])) for i, name in enumerate(CATEGORIES, 1)}
    else:
        sets.yolo(root, *("".join(f"{c - 1} .5 .5 .5 .5\n" for of, c in objects if of == i) or "\n" for i in range(3)))
    out = imported(form, tmp_path, "--multilabel", "--masks")
    for name, images in expected.items():
        dataset = read_dataset(f"{out}:{name}")
        assert {int(Path(item.path).stem) for item in dataset.items if dataset.classes[item.label] == "1"} == images
        assert {Path(item.path).stem: len(item.masks) for item in dataset.items} == {"0": 2, "1": 2, "2": 0}


def test_boxes_are_cut_out_one_by_one(tmp_path: Path) -> None:
    out = imported("yolo", tmp_path, "--mode", "roi", "--set", "import.margin=1")
    cut = read(out / "benign" / "0_1.png")
    assert cut.shape == (64, 64)  # of a box of 40 x 30 pixels: the least square that shows its surroundings
    assert np.array_equal(cut[2:62], picture(0)[:, :64])  # higher than the picture: black above and below


# ---- volumes and clips


def test_a_slice_is_spread_between_percentiles_and_has_a_mask_for_each_structure(tmp_path: Path) -> None:
    out = imported("acdc", tmp_path)
    source = tmp_path / "set/training/patient001/patient001_frame12.nii.gz"
    voxels = np.asarray(nibabel.load(source).dataobj)
    low, high = np.percentile(voxels, (0.5, 99.5))
    expected = np.clip((voxels[:, :, 2].T - low) / (high - low), 0, 1) * 255
    assert np.abs(read(out / "heart/patient001_frame12_slice003.png") - expected).max() <= 0.51
    for label, name in enumerate(("right-ventricle", "myocardium", "left-ventricle"), start=1):
        mask = read(out / f"heart/patient001_frame12_slice003_mask_{name}.png")
        assert np.array_equal(mask > 0, label == draw_labels(3, 1)[:, :, 2].T)
    # The structures come back from the cache in the order of their names.
    dataset = read_dataset(out, fewest_classes=1)
    assert dataset.structures == ("left-ventricle", "myocardium", "right-ventricle")
    cache = open_cache(dataset, 32, tmp_path / "cache")
    for size in (45, 17):  # borders run through pixels, which neighbours share
        read_structures(cache.at(size), np.arange(3), tmp_path / "cache", disjoint=True)
    masks = read_structures(cache, np.arange(3), tmp_path / "cache")
    assert masks.shape == (3, 3, 32, 32) and masks[0].max() == 0  # slice 1 is empty
    # Blocks of 4 of 20 columns and 7 of 16 rows.
    assert masks[1].astype(float).mean((1, 2)) / 255 == pytest.approx([0.2 * 7 / 16] * 3, abs=0.01)
    assert masks[1, 0, 12].argmax() > masks[1, 1, 12].argmax() > masks[1, 2, 12].argmax()


def test_without_a_unit_or_info_distances_are_unknown_and_the_first_frame_is_diastole(tmp_path: Path) -> None:
    sets.acdc(tmp_path / "set")
    folder = tmp_path / "set/training/patient001"
    (folder / "Info.cfg").unlink()
    for path in folder.glob("*.nii.gz"):
        sets.nifti(path, np.asarray(nibabel.load(path).dataobj), "unknown")
    with (imported("acdc", tmp_path) / "groups.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["mm_x"] for row in rows[:6]} == {""} and {row["mm_x"] for row in rows[6:]} == {"1.5"}
    assert [row["phase"] for row in rows[:6]] == ["ED"] * 3 + ["ES"] * 3


@pytest.mark.parametrize("entries", [{}, {"CompressedData": "True"}])
def test_ct_is_shown_in_a_window_of_hounsfield_units(tmp_path: Path, entries: dict[str, str]) -> None:
    sets.sliver07(tmp_path / "set", lesions=bool(entries), **entries)
    out = imported("sliver07", tmp_path, "--set", "import.window=-100,300")
    voxels = np.random.default_rng(1).integers(-1000, 1000, SHAPE).astype(np.int16)
    levels = read(out / "liver/liver-orig001_slice002.png").astype(float)
    assert np.abs(levels - np.clip((voxels[:, :, 1].T + 100) / 400, 0, 1) * 255).max() <= 0.51
    assert np.array_equal(read(out / "liver/liver-orig001_slice002_mask_liver.png") > 0, draw_labels(1)[:, :, 1].T == 1)
    assert read_dataset(out, 1).structures == (("lesion", "liver") if entries else ("liver",))


def test_metaimage_of_the_other_byte_order(tmp_path: Path) -> None:
    voxels = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    sets.mhd(tmp_path / "a.mhd", voxels.astype(">i2"), "MET_SHORT", BinaryDataByteOrderMSB="True")
    sets.mhd(tmp_path / "b.mhd", voxels.astype("<i2"), "MET_SHORT")
    for name in ("a", "b"):
        assert np.array_equal(open_volume(tmp_path / f"{name}.mhd").voxels(), voxels)


@pytest.mark.parametrize(
    ("entries", "left", "message"),
    [
        ({"ElementDataFile": "../elsewhere.raw"}, None, "'../elsewhere.raw' is not a file beside it"),
        ({"DimSize": "20 16"}, None, "20x16 voxels"),
        ({"DimSize": "20 16 many"}, None, "DimSize"),
        ({"DimSize": "99999 99999 99"}, None, "99999x99999x99 voxels"),
        ({"ElementType": "MET_STRING"}, None, "MET_STRING"),
        ({}, -1, "a.raw: the voxels of a.mhd cannot be read"),
        ({}, 100, "has 100 bytes, but 20x16x3 voxels need 1920"),
    ],
)
def test_a_metaimage_that_cannot_be_used_is_refused(
    tmp_path: Path, entries: dict[str, str], left: int | None, message: str
) -> None:
    sets.mhd(tmp_path / "a.mhd", np.zeros(SHAPE, np.int16), "MET_SHORT")
    kept = [line for line in (tmp_path / "a.mhd").read_text().splitlines() if line.partition(" ")[0] not in entries]
    (tmp_path / "a.mhd").write_text("\n".join([*kept, *(f"{key} = {value}" for key, value in entries.items())]))
    raw = tmp_path / "a.raw"
    if left is not None:
        raw.unlink() if left < 0 else raw.write_bytes(raw.read_bytes()[:left])
    with pytest.raises(SonoforgeError, match=message):
        LabelledVolume("a", tmp_path / "a.mhd", None, {}, "a", {}).read(0)


def test_label_maps_beside_volumes_become_structures(tmp_path: Path) -> None:
    out = imported("frames", tmp_path, "--set", "import.window=100,700")
    voxels = np.random.default_rng(0).integers(0, 900, (40, 32, 4)).astype(np.int16)[:, :, 2].T
    expected = np.rint(((voxels.astype(np.float32) - 100) / 600).clip(0, 1) * 255)
    assert np.array_equal(read(out / "benign/p1_slice003.png"), expected)
    mask = read(out / "benign" / "p1_slice003_mask_structure-2.png") > 0
    assert mask[4:9, 22:30].all() and mask.sum() == 40


def volumes(tmp_path: Path, **files: NDArray[np.generic]) -> tuple[Path, Finished]:
    """Import volumes of one class, each called by its keyword; also one that is always sound."""
    sound = np.random.default_rng(5).integers(0, 900, SHAPE).astype(np.int16)
    for name, voxels in {"sound": sound, **files}.items():
        sets.nifti(tmp_path / "set" / "benign" / f"{name}.nii.gz", voxels)
    done = succeed("data", "import", "frames", tmp_path / "set", tmp_path / "out")
    assert np.array_equal(read(tmp_path / "out/benign/sound_slice002.png"), spread(sound)[:, :, 1].T)
    return tmp_path / "out" / "benign", done


def spread(voxels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """The levels of a volume, computed in the slow and obvious way."""
    finite = [float(value) for value in voxels.ravel() if np.isfinite(value)]
    low, high = np.percentile(finite, (0.5, 99.5))
    shares = [min(max((float(v) - low) / (high - low), 0), 1) if np.isfinite(v) else 0 for v in voxels.ravel()]
    return np.rint(255 * np.array(shares)).astype(np.uint8).reshape(voxels.shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e30])
def test_voxels_that_are_not_finite_are_black_and_counted(tmp_path: Path, dtype: type, scale: float) -> None:
    voxels = (np.random.default_rng(3).integers(1, 200, SHAPE) * scale).astype(dtype)
    voxels[:, :3] = np.nan
    voxels[5, 9], voxels[6, 9] = np.inf, -np.inf
    out, done = volumes(tmp_path, holes=voxels, none=np.full(SHAPE, np.nan, dtype))
    for number in range(3):
        levels = read(out / f"holes_slice{number + 1:03d}.png")
        assert np.abs(levels.astype(int) - spread(voxels)[:, :, number].T).max() <= 1
        assert levels.mean() > 80 and not levels[:3].any() and not levels[9, 5:7].any()
    said = [line for line in done.err.splitlines() if "NaN" in line]
    assert len(said) == 2 and "holes.nii.gz: 186 of 960 voxels" in said[1]
    assert set(done.json["left_out"]) == {f"benign/none_slice{number:03d}.png" for number in (1, 2, 3)}
    assert "none.nii.gz" in said[0]


@pytest.mark.parametrize("least", [-1.7e308, 0])
def test_no_range_of_values_makes_a_volume_black(tmp_path: Path, least: float) -> None:
    wide = np.where(np.random.default_rng(1).random(SHAPE) < 0.5, least, 1.7e308)
    few = np.zeros(SHAPE, np.float32)
    few[7, 5, 1], few[8, 5, 1] = 3e-9, 1.5e-9  # less than half a percent of the voxels
    out, _ = volumes(tmp_path, wide=wide, few=few)
    assert np.array_equal(read(out / "wide_slice001.png"), np.where(least < wide[:, :, 0].T, 255, 0))
    assert read(out / "few_slice002.png")[5, 6:10].tolist() == [0, 255, 128, 0]


INTEGERS = ("u1", "i1", "<u2", ">u2", "<i2", ">i2", "<u4", ">i4", "<i8", ">u8")
MAPS = [
    *((dtype, (0, 1, 3), None) for dtype in (*INTEGERS, "<f4", ">f4", "<f8", ">f8")),
    *((dtype, (0, 255, 0), None) for dtype in ("u1", "<i2", ">f4")),
    *((dtype, (0, 17, 1001), None) for dtype in ("<i2", ">u2", "<i4", "<f8")),
    ("<i8", (0, 2**40, 2**40 + 1), None),
    ("u1", (0, 10, 30), (0.1, 0)),
    ("i1", (-1, 0, 1), (2.0, 2)),
    ("<f4", (0, 1.0002, 2.9998), None),
    ("<f4", (np.nan, 0, 4), None),
]


@pytest.mark.parametrize(("dtype", "values", "scaled"), MAPS)
def test_each_label_that_occurs_is_a_mask_under_its_number(
    tmp_path: Path, dtype: str, values: tuple[float, ...], scaled: tuple[float, float] | None
) -> None:
    shown = np.random.default_rng(2).integers(0, 3, SHAPE)
    labels = np.array(values).astype(dtype)[shown]
    path = tmp_path / "set" / "benign" / "sound_seg.nii.gz"
    sets.nifti(path, labels, scaled=scaled, endian=dtype[0].replace("u", "<").replace("i", "<"))
    assert nibabel.load(path).get_data_dtype() == np.dtype(dtype)
    out, done = volumes(tmp_path)
    meant = np.nan_to_num(np.array(values) * (scaled or (1, 0))[0] + (scaled or (1, 0))[1]).round().astype(int)
    names = {file.name.split("_mask_")[1] for file in out.glob("*_mask_*")}
    assert names == {f"structure-{number}.png" for number in meant if number}
    for number in filter(None, meant.tolist()):
        for place in range(3):
            mask = read(out / f"sound_slice{place + 1:03d}_mask_structure-{number}.png")
            assert np.array_equal(mask > 0, (meant[shown] == number)[:, :, place].T)
    assert done.err.count("sound_seg.nii.gz: ") == sum(map(np.isnan, values))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.full(SHAPE, -1, np.int16), "label -1 is not a whole number from 0"),
        (np.full(SHAPE, 0.5, np.float32), "label 0.5 is not a whole number"),
        (np.full(SHAPE, 1e30), "label 1e+30 is not"),
        (np.full(SHAPE, np.inf), "all 960 voxels are NaN or infinite"),
        (np.arange(960, dtype=np.int16).reshape(SHAPE), "has 959 different labels, more than 255"),
        (np.zeros(SHAPE, "u1,u1,u1"), "is in colour"),
        (np.zeros(SHAPE, np.complex64), "complex64"),
        (np.zeros((16, 20, 3), np.uint8), "has 16x20x3 voxels, but its image"),
        (np.zeros((*SHAPE, 2), np.uint8), "has 20x16x3x2 voxels, but its image"),
    ],
)
def test_a_label_map_that_cannot_be_used_leaves_its_volume_out(
    tmp_path: Path, labels: NDArray[np.generic], words: str
) -> None:
    if labels.dtype.names:
        labels = labels.astype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    out, done = volumes(tmp_path, other=np.ones(SHAPE, np.uint8), other_seg=labels)
    assert [path.name for path in out.glob("other*")] == []
    ((name, message),) = done.json["left_out"].items()
    assert name == "benign/other.png" and words in message and "other_seg.nii.gz" in message and "\n" not in message


def test_volumes_of_a_class_have_masks_of_the_same_structures(tmp_path: Path) -> None:
    """Otherwise training refuses those in which one of them does not occur."""
    out, _ = volumes(tmp_path, other=np.ones(SHAPE, np.uint8), other_seg=draw_labels(2) * 4, sound_seg=draw_labels(1))
    dataset = read_dataset(out.parent, fewest_classes=1)
    assert dataset.structures == ("structure-1", "structure-4", "structure-8")
    masks = read_structures(open_cache(dataset, 32, tmp_path / "cache"), np.arange(6), tmp_path / "cache")
    assert [tuple(one.any((1, 2))) for one in masks] == [
        *((False, False, False), (False, True, True), (False, True, True)),
        *((False, False, False), (True, False, False), (True, False, False)),
    ]


def test_a_corrected_volume_is_read_anew(tmp_path: Path) -> None:
    folder, right = tmp_path / "set" / "benign", np.random.default_rng(1).integers(0, 256, SHAPE).astype(np.uint8)
    for name, labels in (("wrong", right * 0 + 1), ("right", draw_labels(2))):
        sets.nifti(folder / "a.nii", right if name == "right" else np.full(SHAPE, np.nan, np.float32))
        sets.nifti(folder / "b.nii", right // (1 if name == "right" else 2))
        sets.nifti(folder / "b_seg.nii", labels)
        succeed("data", "import", "frames", tmp_path / "set", tmp_path / name)
    for volume in "ab":
        assert np.array_equal(read(tmp_path / f"right/benign/{volume}_slice003.png"), right[:, :, 2].T)
    mask = read(tmp_path / "right/benign/b_slice003_mask_structure-2.png")
    assert np.array_equal(mask > 0, draw_labels(2)[:, :, 2].T == 2)


def test_a_changed_bit_of_a_packed_volume_is_noticed(tmp_path: Path) -> None:
    path, chance = tmp_path / "a.nii.gz", np.random.default_rng(1)
    sets.nifti(path, chance.normal(100, 30, (32, 32, 4)).astype(np.int16))
    whole = path.read_bytes()
    for bit in chance.integers(160, 8 * len(whole), 30):  # behind the name and time of gzip's header, RFC 1952
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(SonoforgeError, match=r"a\.nii\.gz"):
            open_volume(path).voxels()


def coloured(alpha: int | None) -> NDArray[np.generic]:
    names = "RGB" if alpha is None else "RGBA"
    voxels = np.zeros(SHAPE, [(name, "u1") for name in names])
    for seed, name in enumerate("RGB"):
        voxels[name] = np.random.default_rng(seed).integers(0, 256, SHAPE)
    if alpha is not None:
        voxels["A"] = alpha
    return voxels


@pytest.mark.parametrize(("alpha", "share"), [(None, 1), (255, 1), (0, 1), (51, 0.2)])
def test_colours_are_read_as_colours_on_black(tmp_path: Path, alpha: int | None, share: float) -> None:
    voxels = coloured(alpha)
    out, _ = volumes(tmp_path, colour=voxels)
    expected = np.stack([voxels[name][:, :, 2].T for name in "RGB"], axis=-1) * share
    assert np.abs(read(out / "colour_slice003.png") - expected).max() <= 0.5


@pytest.mark.parametrize("code", [1, 32, 1536, 1792, 2048])
def test_bits_complex_numbers_and_long_floats_are_refused_by_name(tmp_path: Path, code: int) -> None:
    """Those of NIfTI's types (nifti1.h) that no grey level could stand for, or not every platform has."""
    path = tmp_path / "set" / "benign" / "other.nii"
    sets.nifti(path, np.ones((*SHAPE[:2], 99)))
    content = bytearray(path.read_bytes())
    content[70:72] = code.to_bytes(2, "little")
    path.write_bytes(content)
    _, done = volumes(tmp_path)
    ((name, message),) = done.json["left_out"].items()
    assert name == "benign/other.png" and "other.nii: " in message and "\n" not in message


@pytest.mark.parametrize(
    ("shape", "names", "spacing"),
    [
        (SHAPE[:2], ["slice001"], ("1.5", "1.25", "")),
        ((*SHAPE[:2], 1), ["slice001"], ("1.5", "1.25", "8")),
        ((*SHAPE[:2], 2, 1, 1), ["slice001", "slice002"], ("1.5", "1.25", "8")),
        ((*SHAPE[:2], 1, 2), ["time001_slice001", "time002_slice001"], ("1.5", "1.25", "8")),
        ((*SHAPE[:2], 2, 2), [f"time00{t}_slice00{z}" for t in (1, 2) for z in (1, 2)], ("1.5", "1.25", "8")),
    ],
)
def test_time_points_are_volumes_of_one_group_and_a_picture_is_one_slice(
    tmp_path: Path, shape: tuple[int, ...], names: list[str], spacing: tuple[str, ...]
) -> None:
    voxels = np.random.default_rng(4).integers(0, 256, shape).astype(np.uint8)
    labels = np.where(voxels > 99, 7, 0).astype(np.uint8)
    out, _ = volumes(tmp_path, other=voxels, other_gt=labels)
    assert sorted(path.stem for path in out.glob("other*[0-9].png") if "mask" not in path.name) == [
        f"other_{name}" for name in names
    ]
    slices = voxels.reshape(*SHAPE[:2], -1, order="F")
    for place, name in enumerate(names):
        assert np.array_equal(read(out / f"other_{name}.png"), slices[:, :, place].T)
        assert np.array_equal(read(out / f"other_{name}_mask_structure-7.png") > 0, slices[:, :, place].T > 99)
    with (out.parent / "groups.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if "other" in row["file"]]
    assert [f"{row['volume']}_slice{int(row['slice']) + 1:03d}" for row in rows] == [f"other_{name}" for name in names]
    assert {row["group"] for row in rows} == {"other"}
    assert {(row["mm_x"], row["mm_y"], row["mm_z"]) for row in rows} == {spacing}


def test_a_header_that_claims_more_than_its_file_holds_plans_no_slices(tmp_path: Path) -> None:
    for name in ("a.nii", "b.nii.gz"):
        path = tmp_path / "set" / "benign" / name
        sets.nifti(path, np.zeros(SHAPE, np.uint8))
        content = bytearray(nibabel.load(path).to_bytes())
        content[40:50] = np.array([4, *SHAPE[:2], 1025, 348], "<i2").tobytes()
        path.write_bytes(gzip.compress(content) if name == "b.nii.gz" else content)
    _, done = volumes(tmp_path)
    assert {name: "too short" in said for name, said in done.json["left_out"].items()} == {
        "benign/a.png": True,
        "benign/b.png": True,
    }


@pytest.mark.parametrize("shape", [(960,), (20, 16, 3, 1, 3), (20, 16, 3, 2, 2), (20, 8, 3), (400, 16, 3)])
def test_other_dimensions_are_refused_by_name(tmp_path: Path, shape: tuple[int, ...]) -> None:
    _, done = volumes(tmp_path, other=np.ones(shape, np.uint8))
    ((name, message),) = done.json["left_out"].items()
    assert name == "benign/other.png" and "other.nii.gz: " in message


def test_every_volume_counts_once_and_a_label_map_is_never_a_picture(tmp_path: Path) -> None:
    voxels, folder = np.ones(SHAPE, np.uint8), tmp_path / "set" / "benign"
    for name in ("sound.nii", "sound.nii.gz", "sound_seg.nii.gz", "sound_seg.nii", "sound_gt.nii.gz"):
        sets.nifti(folder / name, voxels)
    sets.nifti(folder / "lost_mask.nii.gz", np.random.default_rng(0).random(SHAPE))
    (folder / "named wrongly.nii").write_bytes((folder / "sound_gt.nii.gz").read_bytes())
    (folder / "also.nii.gz").write_bytes((folder / "sound.nii").read_bytes())
    (folder / "cut.nii.gz").write_bytes((folder / "lost_mask.nii.gz").read_bytes()[:-300])
    sets.mhd(folder / "UPPER.MHD", voxels, "MET_UCHAR")
    succeed("data", "import", "frames", tmp_path / "set", tmp_path / "out")
    left_out = json.loads((tmp_path / "out" / "import.json").read_text())["left_out"]
    for name, words in {
        "sound.nii.gz": "lies beside benign/sound.nii,",
        "sound_seg.nii": "the label map of benign/sound.nii is benign/sound_gt.nii.gz",
        "sound_seg.nii.gz": "lies beside benign/sound_seg.nii,",
        "lost_mask.nii.gz": "no volume benign/lost lies beside it",
        "named wrongly.nii": ".nii.gz if it is compressed",
        "also.nii.gz": ".nii.gz if it is compressed",
        "cut.nii.gz": "incomplete or damaged",
    }.items():
        assert any(f"/{name}: " in message and words in message for message in left_out.values()), name
    volumes = {item.path.split("_slice")[0] for item in read_dataset(tmp_path / "out", 1).items}
    assert volumes == {"benign/benign_sound_nii", "benign/UPPER"}


def test_films_pages_and_dicom_clips_become_their_distinct_frames_of_one_group(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="needs the extra video")
    root, out = tmp_path / "set", tmp_path / "out"
    for name in CATEGORIES:
        (root / name).mkdir(parents=True)
    frames = np.stack([draw_scan(seed, 64) for seed in (1, 1, 2, 3)])
    film = cv2.VideoWriter(str(root / "benign/film.avi"), cv2.VideoWriter_fourcc(*"FFV1"), 10, (64, 64))
    for frame in frames:
        film.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    film.release()
    first, *others = map(Image.fromarray, frames)
    first.save(root / "malignant/pages.tif", save_all=True, append_images=others)
    first.save(root / "malignant/frozen.tif", save_all=True, append_images=[first])
    save_dicom(plant(data_set(frames)), root / "benign" / "clip.dcm")
    save_dicom(plant(data_set(frames[:1] // 2)), root / "malignant" / "still")
    imported("frames", tmp_path)
    for own, most in (("benign/film", 2), ("malignant/pages", 0), ("benign/clip", 0)):  # a film's colours are YCbCr
        for number in (1, 3, 4):
            pixels = read(out / f"{own}_frame{number:04d}.png").astype(int)
            pixels = pixels[..., 0] if pixels.ndim == 3 else pixels
            assert np.abs(pixels - frames[number - 1]).max() <= most
    assert np.array_equal(read(out / "malignant/still.png"), frames[0] // 2)
    groups = {item.path: item.group for item in read_dataset(out).items}
    assert len(groups) == 11 and len(set(groups.values())) == 4
    assert groups["benign/clip_frame0001.png"] == groups["malignant/still.png"]  # one patient, by a hash of the number
    assert "malignant/frozen_frame0001.png" in groups
    assert "Zebedee" not in (out / "groups.csv").read_text() + (out / "import.json").read_text()


# ---- photographs


def test_the_optic_disc_is_whatever_is_not_black(tmp_path: Path) -> None:
    out = imported("idrid", tmp_path)
    mask = read(out / "fundus/IDRiD_55_mask_optic-disc.png") > 0
    assert mask.shape == (24, 36) and mask[6:18, 6:18].all() and mask.sum() == 144
    assert Image.open(out / "fundus/IDRiD_55.png").mode == "RGB"


# ---- mammograms


@pytest.mark.parametrize(("bits", "dtype"), [(16, np.uint16), (12, np.uint16), (8, np.uint8), (16, np.int16)])
def test_white_as_zero_is_inverted_within_its_bits(tmp_path: Path, bits: int, dtype: type) -> None:
    low, high = (-(2**15), 2**15 - 1) if dtype is np.int16 else (0, 2**bits - 1)
    pixels = np.linspace(low, high, 64 * 48).astype(dtype).reshape(64, 48)
    folder = tmp_path / "a" / "b" / "c"
    films.save_dicom(folder / "x.dcm", pixels, "MONOCHROME2", bits)
    films.save_dicom(folder / "y.dcm", pixels, "MONOCHROME1", bits)
    np.testing.assert_array_equal(cbis_ddsm.read_dicom(folder / "x.dcm"), pixels)
    inverted = cbis_ddsm.read_dicom(folder / "y.dcm")
    assert inverted.dtype == dtype
    np.testing.assert_array_equal(inverted.astype(int), low + high - pixels.astype(int))


def test_kind_pathology_and_split_choose_films_and_never_call_a_cancer_benign(tmp_path: Path) -> None:
    films.write_collection(tmp_path / "set")

    def planned(**settings: object) -> set[str]:
        return {one.path for one in cbis_ddsm.plan(tmp_path / "set", ImportSettings(**settings))}  # type: ignore[arg-type]

    both = {"malignant/Mass-Training_P_00001_LEFT_CC.png", "malignant/Mass-Training_P_00001_LEFT_MLO.png"}
    assert planned(pathologies=("malignant",)) == both
    assert planned(kinds=("mass",), splits=("train",)) == both
    # The film's calcification is benign and its mass is not: neither a benign film nor a malignant calcification.
    assert planned(kinds=("calcification",)) == {"benign/Calc-Test_P_00002_RIGHT_CC.png"}
    assert planned(pathologies=("benign-without-callback",)) == {"benign/Calc-Test_P_00002_RIGHT_CC.png"}
    assert planned(splits=("test",), pathologies=("benign",), kinds=("mass",)) == {
        "benign/Mass-Test_P_00003_RIGHT_CC.png",
        "benign/Mass-Test_P_00004_RIGHT_CC.png",
    }


def test_a_whole_film_is_squeezed_to_a_square(tmp_path: Path) -> None:
    films.write_collection(tmp_path / "set")
    planned = cbis_ddsm.plan(tmp_path / "set", ImportSettings(longest=60, kinds=("mass",), splits=("train",)))
    film = films.draw_film()
    # Each new pixel is the mean of 7 x 5 old ones.
    levels = 255 * (film.astype(float) - film.min()) / (float(film.max()) - film.min())
    means = levels.reshape(60, 7, 60, 5).mean((1, 3))
    assert len(planned) == 2
    for one in planned:  # the second is stored with white as 0
        pixels = one.read().pixels
        assert pixels.shape == (60, 60) and np.abs(pixels - means).max() <= 1


def test_squares_lie_within_the_picture_around_the_object() -> None:
    mask = np.zeros((500, 400), bool)
    mask[:100, 350:] = True  # in the corner: 100 x 50
    assert square_around(mask, 1.5) == ((0, 250), 150)
    mask[:] = False
    mask[250, 200] = True
    assert square_around(mask, 1.5) == ((218, 168), 64)  # never below 64 pixels

"""Every reader of ``data import`` on a set in its official layout: what is written, counted, grouped, and refused."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import published_sets as sets
from program import refused, sonoforge, succeed
from sonoforge.training.data.collections.importing import KNOWN_SETS, ImportSettings
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.data.readers import open_reader, reader_names

pytest.importorskip("nibabel")


class Imported(NamedTuple):
    """An import and what it must hold."""

    form: str  # of `published_sets.WRITERS`, which begins with the reader's name
    options: str
    classes: dict[str, int]
    groups: set[str] | int
    masked: int  # pictures with masks
    facts: Mapping[str, set[str]] = {}  # values of columns of groups.csv
    left_out: int = 0

    @property
    def reader(self) -> str:
        return self.form.split(" ")[0]


PATIENTS = {"patient001", "patient002"}
CBIS = {"split": {"train", "test"}, "view": {"CC", "MLO"}, "density": {"3"}}
ROBOFLOW = {f"scan{n}{i}_png" for n in range(3) for i in range(2)}
SLICES = {"mm_x": {"1.5"}, "mm_y": {"1.25"}, "mm_z": {"8"}}
ROWS = [
    Imported("acdc", "", {"heart": 12}, PATIENTS, 12, {"phase": {"ED", "ES"}, "split": {"train"}, **SLICES}),
    Imported("cbis-ddsm", "--longest 128", {"benign": 2, "malignant": 2}, 3, 0, CBIS, 1),
    Imported("coco", "--masks", {"background": 2, "benign": 2, "malignant": 2}, 6, 4, {"split": {"train", "val"}}),
    Imported("coco of roboflow", "--masks", {"benign": 4, "malignant": 4}, ROBOFLOW, 8),
    Imported("frames", "", {"benign": 4, "malignant": 8}, {"p1", "p2", "pages", "plain"}, 4),
    Imported("idrid", "", {"fundus": 3}, {"IDRiD_01", "IDRiD_02", "IDRiD_55"}, 3, {"split": {"train", "test"}}),
    Imported("medmnist", "", {"malignant": 5, "normal-benign": 4}, 9, 0, {"split": {"train", "val", "test"}}),
    Imported("sliver07", "", {"liver": 6}, {"liver-orig001", "liver-orig002"}, 6, {"mm_z": {"2.5"}}),
    Imported("yolo", "--mode roi --set import.margin=1", {"benign": 1, "malignant": 2}, {"0", "1"}, 0),
    Imported("yolo of roboflow", "--masks", {"benign": 4, "malignant": 4}, ROBOFLOW, 8),
]  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a form, written once."""
    root = tmp_path_factory.mktemp("sets")

    def write(form: str) -> Path:
        if not (root / form).exists():
            sets.WRITERS[form](root / form)
        return root / form

    return write


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "groups.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_every_reader_is_tested_and_no_setting_is_without_one() -> None:
    assert {row.reader for row in ROWS} == set(reader_names())
    taken = {name for reader in reader_names() for name in open_reader(reader).takes}
    assert taken == {field.name for field in dataclasses.fields(ImportSettings)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.form} {row.options}")
def test_a_set_becomes_a_folder_of_classes(written: Callable[[str], Path], tmp_path: Path, row: Imported) -> None:
    out = tmp_path / "out"
    command = ("data", "import", row.reader, written(row.form), out, *row.options.split())
    done = succeed(*command)
    assert done.json["images"] == row.classes and len(done.json["left_out"]) == row.left_out
    assert f"sonoforge data audit --data {out}" in done.err
    dataset = read_dataset(out, 1)
    assert {name: int((dataset.labels == i).sum()) for i, name in enumerate(dataset.classes)} == row.classes
    groups = {item.group for item in dataset.items}
    assert groups == row.groups if isinstance(row.groups, set) else len(groups) == row.groups
    assert sum(bool(item.masks) for item in dataset.items) == row.masked
    table = rows_of(out)
    for column, values in row.facts.items():
        assert {line[column] for line in table} - {""} == values, column
    for item in dataset.items:
        size = Image.open(dataset.file(item.path)).size
        assert all(Image.open(dataset.file(mask)).size == size for mask in item.masks)
    note = json.loads((out / "import.json").read_text())
    assert note["complete"] and note["patients"] == len(groups) and note["set"] == row.reader
    # A second import needs --resume, which writes what is missing and nothing else.
    assert "--resume" in refused(*command)
    before = contents(out)
    (out / dataset.items[0].path).unlink()
    refused("data", "audit", "--data", out)  # an incomplete folder is not read
    succeed(*command, "--resume")
    assert contents(out) == before
    other = refused(*command, "--set", "import.margin=3", "--resume")
    assert "another margin" in other or "margin" not in open_reader(row.reader).takes


@pytest.mark.parametrize("name", reader_names())
def test_another_folder_and_settings_of_other_sets_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    line = refused("data", "import", name, tmp_path / "empty", tmp_path / "out")
    assert str(tmp_path / "empty") in line
    reader = open_reader(name)
    other, value = next(own for own in (("longest", 99), ("window", "0,9")) if own[0] not in reader.takes)
    line = refused("data", "import", name, tmp_path / "empty", tmp_path / "out", "--set", f"import.{other}={value}")
    assert f"{other}: does not apply to {name}" in line and reader.takes[0] in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["coco", "coco of roboflow", "yolo", "yolo of roboflow", "frames"])
def test_reading_such_a_folder_directly_names_the_command_that_converts_it(tmp_path: Path, form: str) -> None:
    sets.WRITERS[form](tmp_path / "set")
    for picture in (tmp_path / "set").glob("malignant/*.[pt]*"):
        picture.unlink()
    name = form.split(" ", maxsplit=1)[0]
    assert f"sonoforge data import {name} {tmp_path / 'set'} OUT" in refused("train", "--data", tmp_path / "set")


def test_sets_are_read_from_a_zip_too(written: Callable[[str], Path], tmp_path: Path) -> None:
    path = shutil.make_archive(str(tmp_path / "export"), "zip", written("yolo of roboflow"))
    succeed("data", "import", "yolo", path, tmp_path / "zipped", "--masks")
    succeed("data", "import", "yolo", written("yolo of roboflow"), tmp_path / "plain", "--masks")
    one, other = (contents(tmp_path / name) for name in ("zipped", "plain"))
    assert {name: data for name, data in one.items() if name != "import.json"} == {
        name: data for name, data in other.items() if name != "import.json"
    }
    splits = {item.group: item.split for item in read_dataset(tmp_path / "zipped").items}
    assert splits == {group: "test" if group.startswith("scan2") else "train" for group in ROBOFLOW}


# ---- what is refused as a whole, or left out


def edit(path: str, old: str, new: str) -> Callable[[Path], None]:
    return lambda root: (root / path).write_text((root / path).read_text().replace(old, new, 1))


def labels(*lines: str) -> Callable[[Path], None]:
    return lambda root: (shutil.rmtree(root), sets.yolo(root, *lines))[0]


def classes_txt(text: str) -> Callable[[Path], None]:
    return lambda root: ((root / "data.yaml").unlink(), (root / "classes.txt").write_text(text))[0]


def annotations(**change: Any) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        shutil.rmtree(root)
        sets.save(root / "0.png", sets.picture(0))
        (root / "x.json").write_text(json.dumps({**sets.coco_file(["0.png"], [1]), **change}))

    return make


def segmented(segmentation: object) -> Callable[[Path], None]:
    return annotations(annotations=[{"image_id": 0, "category_id": 1, "segmentation": segmentation}])


def named(*names: str) -> Callable[[Path], None]:
    """One picture with an object of each class."""
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    own = [{"image_id": 0, "category_id": number, "bbox": [1, 1, 9, 9]} for number in range(len(names))]
    return annotations(categories=categories, annotations=own)


def medmnist(array: object, *parts: str) -> Callable[[Path], None]:
    names = [f"{part}_{kind}" for part in parts for kind in ("images", "labels")]
    return lambda root: np.savez(root / "breastmnist.npz", **dict.fromkeys(names, np.array([array])))


TABLE = "mass_case_description_train_set.csv"
REFUSED = [
    ("yolo", "", labels("0 10 20 30 40"), "line 1"),
    ("yolo", "", labels("7 .5 .5 .5 .5"), "a class from 0 to 1"),
    ("yolo", "", labels("0 .5 .5 .5"), "an outline of 3 numbers"),
    ("yolo", "", labels("0 .5 .5 nan .5"), "below a million"),
    ("yolo", "", labels("\n"), "none of its 1 pictures has an object"),
    ("yolo", "", labels(), "--mode roi cuts out each object, --multilabel"),
    ("yolo", "--multilabel --mode roi", labels(), "--multilabel cannot be combined with --mode roi"),
    ("yolo", "", lambda root: (root / "data.yaml").unlink(), "data.yaml"),
    ("yolo", "", edit("data.yaml", "benign", ""), "one without a name"),
    ("yolo", "", edit("data.yaml", "benign", "[a]"), "names is not a list"),
    ("yolo", "", classes_txt("benign\n\nmalignant\n"), "one without a name"),  # which would shift the classes after it
    ("yolo", "", edit("data.yaml", "names", "kpt_shape: [1, 2]\nnames"), "kpt_shape"),
    ("coco", "", annotations(images=[{"id": 0, "file_name": "../../secret.png"}]), "'../../secret.png'"),
    ("coco", "", annotations(annotations=[{"image_id": 5, "category_id": 1}]), "annotation 1: its image or category"),
    ("coco", "", segmented({"size": [60, 80], "counts": [1, 2]}), "runs do not fill 80x60"),
    ("coco", "", segmented({"size": [10**6, 10**6], "counts": [10**12]}), "50000000"),
    ("coco", "", segmented([["a", 1, 2, 3, 4, 5]]), "annotation 1"),
    ("coco", "", annotations(categories=5), "x.json: is not valid COCO"),
    ("coco", "", annotations(images=[{"id": 0, "file_name": "0.png", "width": [1], "height": 9}]), "not valid COCO"),
    ("coco", "", segmented([[10**400] * 6]), "its outline holds more than numbers"),
    ("coco", "--multilabel", named("left/1", "left_1"), "'left/1' is too long, or another has the same folder"),
    ("coco", "--multilabel", named("x" * 61, "y"), "is too long"),
    ("cbis-ddsm", "", edit(TABLE, "MALIGNANT", "MALIGN"), "line 7: the pathology 'MALIGN'"),
    ("cbis-ddsm", "", edit(TABLE, "patient_id", "patient"), "patient_id"),
    ("cbis-ddsm", "", edit(TABLE, "Mass-Training_P", "Mass_P"), "line 4"),
    ("cbis-ddsm", "", lambda root: shutil.rmtree(root / "CBIS-DDSM"), "none of 5 pictures"),
    (
        "cbis-ddsm",
        "--set import.kinds=calcification --set import.pathologies=malignant",
        lambda root: None,
        "none of the 7 abnormalities",
    ),
    ("medmnist", "", medmnist(1, "train"), "no array called val_images"),
    ("medmnist", "", medmnist({}, "train", "val", "test"), "not a plain numpy archive (Object"),
    ("medmnist", "", medmnist(1, "train", "val", "test"), "only sets of 2D pictures with one label each"),
    ("frames", "--set import.window=5,1", lambda root: None, "--set import.window: 5,1 is not LOW,HIGH"),
]


@pytest.mark.parametrize(("form", "options", "harm", "words"), REFUSED)
def test_what_is_wrong_is_refused_in_one_line(
    tmp_path: Path, form: str, options: str, harm: Callable[[Path], object], words: str
) -> None:
    sets.WRITERS[form](tmp_path / "set")
    harm(tmp_path / "set")
    assert words in refused("data", "import", form, tmp_path / "set", tmp_path / "out", *options.split())


def objects(*drawn: object, box: object = (10, 8, 46, 43)) -> Callable[[Path], None]:
    """An annotation for each outline, all of one picture."""
    own = [{"image_id": 0, "category_id": 1, "segmentation": each, "bbox": box} for each in drawn]
    return annotations(annotations=own)


@pytest.mark.parametrize(
    ("form", "harm", "masked"),
    [
        *(
            ("coco", objects([sets.LESION], empty, box=box), box is not None)
            for empty in ([], [[]], [[], []], None, [[1, 2]], [[1, 2, 3, 4]], {"size": [60, 80], "counts": []})
            for box in ((10, 8, 46, 43), None)
        ),
        ("coco", objects([[], sets.LESION]), True),
        ("yolo", labels("0 .5 .5 .5 .5\n0\n"), False),
        ("yolo", labels("0\n"), False),
        ("yolo", labels("0 .5 .5 .5 .5\n0 .1 .1 .9 .1 .5 .9\n"), True),
    ],
)
def test_an_object_without_an_outline_is_its_box_or_only_its_class(
    tmp_path: Path, form: str, harm: Callable[[Path], object], masked: bool
) -> None:
    sets.WRITERS[form](tmp_path / "set")
    harm(tmp_path / "set")
    assert succeed("data", "import", form, tmp_path / "set", tmp_path / "out").json["images"] == {"benign": 1}
    command = ("data", "import", form, tmp_path / "set", tmp_path / "masked", "--masks")
    if masked:
        succeed(*command)
        masks = [np.asarray(Image.open(path)) for path in (tmp_path / "masked" / "benign").glob("*_mask*.png")]
        assert masks and all(mask.any() for mask in masks)
    else:
        assert "an object has neither outline nor box" in refused(*command)


@pytest.mark.parametrize("listed", ["[{}, {}, cyst]", "\n  0: {}\n  1: {}\n  2: cyst", "\n- {}\n- {}\n- cyst"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("no", "yes"),
        ("on", "off"),
        ("y", "n"),
        ("012", "1e3"),
        ("1.0", "0x10"),
        ("null", "Null"),
        ("2024-01-01", "1:30"),
    ],
)
def test_classes_of_yolo_are_called_as_written(tmp_path: Path, listed: str, first: str, second: str) -> None:
    sets.yolo(tmp_path / "set", "0 .5 .5 .5 .5", "1 .5 .5 .5 .5")
    (tmp_path / "set" / "data.yaml").write_text(f"nc: 3\nnames: {listed.format(first, second)}\n")
    plan = open_reader("yolo").plan(tmp_path / "set", ImportSettings())
    assert [own.path.split("/")[0] for own in plan] == [first.replace(":", "_"), second.replace(":", "_")]


FIRST = "training/patient001/patient001_frame01"
LEFT_OUT = [
    ("acdc", lambda p: p(".nii.gz").write_bytes(p(".nii.gz").read_bytes()[:-300]), "incomplete or damaged"),
    ("acdc", lambda p: p(".nii.gz").write_bytes(b"no volume"), "is not a NIfTI volume"),
    ("acdc", lambda p: p("_gt.nii.gz").unlink(), "patient001_frame01_gt.nii.gz is missing"),
    ("acdc", lambda p: sets.nifti(p("_gt.nii.gz"), sets.draw_labels(3)[:, :, :2]), "20x16x2 voxels"),
    ("acdc", lambda p: sets.nifti(p("_gt.nii.gz"), np.full(sets.SHAPE, 7, np.uint8)), "label 7"),
    ("acdc", lambda p: sets.nifti(p(".nii.gz"), np.zeros((*sets.SHAPE, 2), np.int16)), "has 20x16x3x2; use the pair"),
]


@pytest.mark.parametrize(("form", "harm", "words"), LEFT_OUT)
def test_a_damaged_volume_is_left_out_with_one_line(
    tmp_path: Path, form: str, harm: Callable[[Callable[[str], Path]], object], words: str
) -> None:
    sets.WRITERS[form](tmp_path / "set")
    harm(lambda end: tmp_path / "set" / f"{FIRST}{end}")
    done = succeed("data", "import", form, tmp_path / "set", tmp_path / "out")
    (message,) = set(done.json["left_out"].values())
    assert words in message and "patient001_frame01" in message and "\n" not in message
    assert done.json["images"] == {"heart": 9}
    assert "patient001_frame01" not in {row["volume"] for row in rows_of(tmp_path / "out")}


def test_the_target_must_be_empty_and_outside_and_names_are_checked(
    written: Callable[[str], Path], tmp_path: Path
) -> None:
    source = written("idrid")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    assert "is not empty" in refused("data", "import", "idrid", source, tmp_path / "full", "--resume")
    assert "is inside" in refused("data", "import", "idrid", source, source / "out")
    assert "no such folder" in refused("data", "import", "idrid", tmp_path / "none", tmp_path / "out")
    assert "did you mean idrid?" in sonoforge("data", "import", "idrit", source, "out").err


def test_pictures_of_files_with_long_names_are_written_with_their_masks(tmp_path: Path) -> None:
    names = ["a" * 250, "a" * 249 + "b", "\u00fc" * 124, "plain", "aux"]
    for place, name in enumerate(names):
        file = tmp_path / "set" / "benign" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 40), 40 * place, np.uint8)).save(file)
    succeed("data", "import", "frames", tmp_path / "set", tmp_path / "out")
    with (tmp_path / "out" / "groups.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert {row["group"] for row in rows} == set(names)  # whole: patients are told apart by it
    for row in rows:
        with Image.open(tmp_path / "out" / row["file"]) as picture:
            assert picture.getpixel((0, 0)) == 40 * names.index(row["group"])
    assert all(len(row["file"].encode()) <= len("benign/.png") + 100 for row in rows)


def test_every_known_set_says_where_and_under_which_terms() -> None:
    names = [known.name for known in KNOWN_SETS]
    assert {"BUSI", "ACDC", "IDRiD", "mini-MIAS", "Herlev", "CBIS-DDSM", "SLiver07", "Zenodo 7890874"} <= set(names)
    assert len(names) == len(set(names))
    assert all("http" in known.obtain and all(known[:6]) for known in KNOWN_SETS)
    text = " ".join(sonoforge("data", "list").out.replace("│", " ").split())
    for wanted in ("data import idrid FOLDER OUT", "data import cbis-ddsm FOLDER OUT"):
        assert wanted in text

"""Folders as people have them: what is a class, a mask or neither, and what cannot be told without a word."""

from __future__ import annotations

import logging
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from program import sonoforge
from scans import draw_scan, save
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.folders import is_outline
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.splits import has_published_split

CLASSES = ("benign", "malignant")
DISC = ((np.mgrid[:48, :48] - 20) ** 2).sum(axis=0) < 100


def outline(path: Path, picture: Image.Image | None = None) -> None:
    """A mask as it is often saved: white on black, its edges smoothed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture or Image.fromarray(DISC.astype(np.uint8) * 255).resize((60, 60))).save(path)


def scans(root: Path, image: str = "{name}/{number}.png", mask: str = "", count: int = 3) -> Path:
    for seed, name in enumerate(CLASSES):
        for number in range(1, count + 1):
            save(root / image.format(name=name, number=number), draw_scan(10 * seed + number, 60))
            if mask:
                outline(root / mask.format(name=name, number=number))
    return root


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{name}/{number}.png", "{name}/{number}_mask.png"),
        ("{name}/{number}.png", "{name}/{number}_Mask.PNG"),
        ("{name}/{number}.png", "{name}/{number}-mask.jpg"),
        ("{name}/{number}.png", "{name}/{number}_segmentation.png"),
        ("{name}/{number}.jpg", "{name}/{number} GT.bmp"),
        ("{name}/s{number}.png", "{name}/mask_S{number}.png"),
        ("{name}/images/{number}.png", "{name}/masks/{number}.png"),
        ("{name}/{number}.png", "{name}/Ground Truth/{number}.png"),
        ("{name}/Images/{number}.png", "{name}/labels/{number}_mask.png"),
        ("{name}/{number}.png", "masks/{name}/{number}.png"),
        ("{name}/{number}.png", "{name}_masks/{number}.png"),
        ("images/{name}/{number}.png", "masks/{name}/{number}.png"),
        ("Scans/{name}/{number}.png", "scans_gt/{name}/{number}.png"),
        ("img/{name}/{number}.jpg", "labels/{name}/{number}_mask.png"),
        ("images/{name}/{number}.png", "images/{name}/masks/{number}.png"),
    ],
)
def test_masks_are_found_however_they_are_called(tmp_path: Path, image: str, mask: str) -> None:
    dataset = read_dataset(scans(tmp_path, image, mask))
    assert dataset.classes == CLASSES
    expected = {
        (image.format(name=name, number=number), mask.format(name=name, number=number))
        for name in CLASSES
        for number in (1, 2, 3)
    }
    assert {(item.path, *item.masks) for item in dataset.items} == expected


@pytest.mark.parametrize(
    ("inner", "masks", "classes"),
    [
        (("1.png", "2.png"), ("1.png", "2.png"), ("images",)),
        (("p1/1.png", "p2/1.png"), ("p1/1.png", "p2/1.png"), ("images",)),  # patients
        (("train/a.png", "test/b.png"), ("train/a.png", "test/b.png"), ("images",)),  # a split
        (("train/benign/1.png", "test/malignant/1.png"), (), ("images",)),
        (("cyst/1.png", "fibroadenoma/1.png"), ("cyst/1.png", "fibroadenoma/1.png"), ("cyst", "fibroadenoma")),
        (("cyst/1.png", "fibroadenoma/1.png"), ("another/1.png", "fibroadenoma/1.png"), ("images",)),
    ],
)
def test_folders_in_one_of_images_are_classes_if_they_can_be_nothing_else(
    tmp_path: Path, inner: tuple[str, ...], masks: tuple[str, ...], classes: tuple[str, ...]
) -> None:
    for number, name in enumerate(inner):
        save(tmp_path / "images" / name, draw_scan(number, 60))
    for name in masks:
        outline(tmp_path / "masks" / name)
    dataset = read_dataset(tmp_path, fewest_classes=1)
    assert dataset.classes == classes
    assert {item.path: item.masks for item in dataset.items} == {
        f"images/{name}": (f"masks/{name}",) if name in masks else () for name in inner
    }
    if classes == ("images",):
        with pytest.raises(SonoforgeError, match=r"a single class folder 'images'"):
            read_dataset(tmp_path)


def test_masks_without_their_images_are_counted_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scans(tmp_path, mask="{name}/{number}_mask.png")
    for name in ("benign/7_mask.png", "malignant/8-segmentation.png", "malignant/masks/9.png"):
        outline(tmp_path / name)
    save(tmp_path / "benign" / "face_mask.png", draw_scan(5, 60))  # a scan, whatever it is called
    with caplog.at_level(logging.INFO):
        dataset = read_dataset(tmp_path)
    assert len(dataset.items) == 7 and "3 masks without an image" in " ".join(caplog.text.split())


def test_a_mask_of_two_images_is_refused(tmp_path: Path) -> None:
    scans(tmp_path, mask="{name}/{number}_mask.png")
    save(tmp_path / "benign" / "1.jpg", draw_scan(5, 60))
    with pytest.raises(SonoforgeError, match=r"1_mask.png: is the mask of both benign/1.jpg and 1.png"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train", "val", "test"), ("train", "train", "test")),  # nothing is chosen on a part for validation
        (("Training", "Validation"), ("train", "test")),
        (("train", "test"), ("train", "test")),
    ],
)
def test_folders_of_a_split_are_a_published_split_and_no_classes(
    tmp_path: Path, names: tuple[str, ...], expected: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    for number, name in enumerate(names):
        scans(tmp_path / name, image=f"{{name}}/{number}{{number}}.png", mask=f"{{name}}/masks/{number}{{number}}.png")
    with caplog.at_level(logging.INFO):
        dataset = read_dataset(tmp_path)
    said = " ".join(caplog.text.split())
    assert "as one class" not in said and "the split is given" in said and "--protocol official tests on it" in said
    assert ("val counts as" in said) == (len(set(names) & {"val", "Validation"}) == 1)
    assert dataset.classes == CLASSES
    found = {(item.path.split("/")[0], item.split, dataset.classes[item.label], item.path.split("/")[1])
             for item in dataset.items}  # fmt: skip
    assert found == {(name, part, own, own) for name, part in zip(names, expected, strict=True) for own in CLASSES}
    assert all(item.masks for item in dataset.items) and has_published_split(dataset)
    assert len(read_dataset(tmp_path / names[0]).items) == 6  # one part alone


@pytest.mark.parametrize("mask", ["{name}/{part}/masks/{number}.png", "{name}/masks/{part}/{number}.png"])
def test_a_split_inside_each_class_is_the_one_outside(
    tmp_path: Path, mask: str, caplog: pytest.LogCaptureFixture
) -> None:
    layouts = {"inside": ("{name}/{part}/{number}.png", mask), "outside": ("{part}/{name}/{number}.png", "")}
    found = {}
    for own, (image, masks) in layouts.items():
        for part in ("Training", "valid", "test"):
            named = (layout.replace("{part}", part) for layout in (image, masks))
            scans(tmp_path / own, *named)
        dataset = read_dataset(tmp_path / own)
        assert dataset.classes == CLASSES and has_published_split(dataset)
        found[own] = {(frozenset(item.path.split("/")), item.label, item.split) for item in dataset.items}
        assert all(item.masks for item in dataset.items) == bool(masks)
    assert found["inside"] == found["outside"] and len(found["inside"]) == 18
    with caplog.at_level(logging.INFO):
        read_dataset(tmp_path / "inside")
    assert "the split is given: 6 test, 6 train, 6 val" in " ".join(caplog.text.split())


def test_a_split_inside_some_classes_or_beside_images_is_refused(tmp_path: Path) -> None:
    for part in ("train", "test"):
        scans(tmp_path / "set", f"{{name}}/{part}/{{number}}.png")
    save(tmp_path / "set" / "benign" / "9.png", draw_scan(9, 60))
    with pytest.raises(SonoforgeError, match=r"benign/9.png: .*folders test, train"):
        read_dataset(tmp_path / "set")


def test_a_part_of_a_split_without_classes_is_refused_with_the_command_that_reads_the_rest(tmp_path: Path) -> None:
    scans(tmp_path / "train")
    save(tmp_path / "test" / "1.png", draw_scan(9, 60))
    with pytest.raises(SonoforgeError, match=r"test: has no class folders.*--data \S*train alone"):
        read_dataset(tmp_path)


def test_collections_are_no_classes_but_views_may_be_folders_of_one(tmp_path: Path) -> None:
    for name in ("Rio", "Cairo"):
        scans(tmp_path / "sites" / name)
    with pytest.raises(SonoforgeError, match=r"benign, malignant below each of Cairo, Rio.*--data"):
        read_dataset(tmp_path / "sites")
    for view in ("left", "right"):
        scans(tmp_path / "views", image=f"{{name}}/{view}/{{number}}.png")
    assert read_dataset(tmp_path / "views").classes == CLASSES


def test_one_class_in_several_spellings_is_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ("Benign", "benign ", "BENIGN", "Müll", unicodedata.normalize("NFD", "müll"))
    for seed, name in enumerate(names):
        save(tmp_path / name / "1.png", draw_scan(seed, 60))
    with caplog.at_level(logging.WARNING):
        dataset = read_dataset(tmp_path)
    assert len(dataset.classes) == 2 and np.bincount(dataset.labels).tolist() == [3, 2]
    assert "'BENIGN' and 'Benign' and 'benign '" in caplog.text


def test_links_are_followed_at_every_depth_and_thumbnails_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there, root = scans(tmp_path / "there"), tmp_path / "data"
    save(root / "malignant" / "a.png", draw_scan(1, 60))
    (root / "benign").symlink_to(there / "benign")
    (root / "malignant" / "clinic").symlink_to(there / "malignant")
    (root / "malignant" / "again").symlink_to(root)
    (root / "malignant" / "gone.png").symlink_to(tmp_path / "nowhere")
    for folder in ("@eaDir/a.png", "$RECYCLE.BIN", ".thumbnails", "__MACOSX", "#recycle"):
        save(root / "malignant" / folder / "SYNOPHOTO_THUMB_M.jpg", draw_scan(2, 60))
        save(root / folder / "x.png", draw_scan(3, 60))
    (root / "malignant" / "notes.pdf").touch()
    save(root / "loose.png", draw_scan(4, 60))
    with caplog.at_level(logging.INFO):
        dataset = read_dataset(root)
    assert np.bincount(dataset.labels).tolist() == [3, 4]
    said = " ".join(" ".join(caplog.messages).split())
    for skipped in ("1 link that leads back", "1 broken link", "1 document", "8 thumbnail or system files"):
        assert skipped in said
    assert "1 image outside the class folders" in said
    found = sonoforge("classify", root, "--recursive", "--json").json["results"]
    assert {Path(entry["file"]).name for entry in found} == {"1.png", "2.png", "3.png", "a.png", "loose.png"}


def test_black_and_white_pictures_among_the_scans_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scans(tmp_path / "data")
    outline(tmp_path / "data" / "benign" / "odd.png")
    with caplog.at_level(logging.WARNING):
        load_images(ImageSource((str(tmp_path / "data"),), 0, 0, tmp_path / "cache"))
    assert "1 of 7 images" in caplog.text and "benign/odd.png" in caplog.text


def test_outlines_are_told_from_scans(tmp_path: Path, shared: Path) -> None:
    busi = read_dataset(shared / "data" / "BUSI")
    some = busi.items[::40]
    assert not any(is_outline(busi.file(item.path)) for item in some)
    assert all(is_outline(busi.file(mask)) for item in some for mask in item.masks)
    levels = Image.fromarray(DISC.astype(np.uint8))  # label maps: 0 and 1, with a palette, of three structures
    for number, picture in enumerate((levels, levels.convert("P"), Image.fromarray(DISC), levels.convert("RGB"))):
        outline(tmp_path / f"{number}.png", picture)
        assert is_outline(tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n")
    assert not is_outline(tmp_path / "bad.png")


@pytest.mark.parametrize(
    ("place", "word"),
    [
        ("benign/malignant", "refused"),
        ("benign/Malignant ", "refused"),
        ("benign/2024/malignant/left", "refused"),
        ("malignant/benign", "refused"),
        ("benign/normal", "refused"),  # of BUSI's classes, though there is no folder of it beside
        ("benign/tumour", "said"),
        ("benign/benign", ""),
        ("benign/p1", ""),
        ("benign/masks", ""),
    ],
)
def test_a_folder_of_one_class_inside_another_is_not_silent(
    tmp_path: Path, place: str, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(scans(tmp_path) / place / "9.png", draw_scan(99, 60))
    with caplog.at_level(logging.WARNING):
        if word == "refused":
            with pytest.raises(
                SonoforgeError, match=f"{place}: is the folder of a class inside that of another"
            ) as caught:
                read_dataset(tmp_path)
            assert "\n" not in str(caught.value)
            with pytest.raises(SonoforgeError):
                read_dataset(tmp_path, fewest_classes=1)
        else:
            assert len(read_dataset(tmp_path).items) == 7
    assert bool("count as benign" in caplog.text) is (word == "said")


@pytest.mark.parametrize("part", ["train", "test"])
def test_such_a_folder_is_not_silent_in_a_part_of_a_split(tmp_path: Path, part: str) -> None:
    for own in ("train", "test"):
        scans(tmp_path / own)
    save(tmp_path / part / "benign" / "malignant" / "9.png", draw_scan(99, 60))
    with pytest.raises(SonoforgeError, match=f"{part}/benign/malignant: is the folder of a class"):
        read_dataset(tmp_path)


def test_a_finer_class_inside_a_coarse_one_is_counted_there_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scans(tmp_path / "lesion")
    save(tmp_path / "healthy" / "1.png", draw_scan(99, 60))
    with caplog.at_level(logging.WARNING):
        assert read_dataset(tmp_path).classes == ("healthy", "lesion")
    assert f"lesion/malignant: its images count as lesion; give --data {tmp_path}/lesion" in caplog.text


def test_folders_are_classes_whatever_they_are_called(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for seed, name in enumerate(("NA", "none", "0", "0.0", "yes", "1")):
        save(tmp_path / name / f"{seed}.png", draw_scan(seed, 60))
    with caplog.at_level(logging.WARNING):
        assert read_dataset(tmp_path).classes == ("0", "1", "NA", "none", "yes")
    assert "'0' and '0.0'" in caplog.text and "'1' and 'yes' look like one class" in caplog.text

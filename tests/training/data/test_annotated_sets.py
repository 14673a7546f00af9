"""COCO, YOLO and Roboflow folders against the COCO authors' own library; volumes and clips as frames."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from program import refused, sonoforge, succeed
from scans import draw_scan, save
from sonoforge.training.data.collections.coco import unpack_runs
from sonoforge.training.data.collections.objects import Outline, draw, polygon
from sonoforge.training.data.datasets import read_dataset

HEIGHT, WIDTH = 60, 80
LESION = [10.3, 12.7, 40.2, 8.1, 55.9, 30.4, 33.0, 50.6, 12.5, 41.2]
CATEGORIES = ("benign", "malignant")


def picture(seed: int) -> np.ndarray:
    return draw_scan(seed, WIDTH)[:HEIGHT]


def coco_file(names: list[str], categories: list[int | None], segmentation: object = None) -> dict[str, object]:
    """A minimal instances file; category None: a picture without an object."""
    segmentation = segmentation or [LESION]
    return {
        "images": [{"id": i, "file_name": name, "width": WIDTH, "height": HEIGHT} for i, name in enumerate(names)],
        "categories": [{"id": 0, "name": "lesions"}, *({"id": i, "name": n} for i, n in enumerate(CATEGORIES, 1))],
        "annotations": [
            {"id": i, "image_id": i, "category_id": c, "segmentation": segmentation, "bbox": [10, 8, 46, 43]}
            for i, c in enumerate(categories)
            if c is not None
        ],
    }  # fmt: skip


def write_coco(root: Path) -> Path:
    """The layout of https://cocodataset.org: pictures in folders of the split, one JSON file each."""
    (root / "annotations").mkdir(parents=True)
    for number, part in enumerate(("train", "val")):
        names = [f"{part}_{i}.png" for i in range(3)]
        for i, name in enumerate(names):
            save(root / part / name, picture(10 * number + i))
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(coco_file(names, [1, 2, None])))
    return root


def pycocotools_mask(segmentation: object) -> np.ndarray:
    mask = pytest.importorskip("pycocotools.mask")
    if isinstance(segmentation, list):
        return mask.decode(mask.merge(mask.frPyObjects(segmentation, HEIGHT, WIDTH))).astype(bool)
    runs = segmentation
    if isinstance(runs["counts"], list):
        runs = mask.frPyObjects(runs, HEIGHT, WIDTH)
    return mask.decode(runs).astype(bool)


def test_coco_pictures_have_the_class_and_the_masks_of_their_objects(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "coco")
    assert "sonoforge data import coco" in refused("data", "audit", "--data", root)
    succeed("data", "import", "coco", root, tmp_path / "out", "--masks")
    dataset = read_dataset(tmp_path / "out")
    assert dataset.classes == ("background", "benign", "malignant")
    assert {(item.path, item.split, len(item.masks)) for item in dataset.items} == {
        (f"{name}/{part}_{i}.png", own, int(i < 2))
        for part, own in (("train", "train"), ("val", "test"))
        for i, name in enumerate((*CATEGORIES, "background"))
    }
    for item in dataset.items:
        part, number = Path(item.path).stem.split("_")
        expected = picture(10 * (part == "val") + int(number))
        assert np.array_equal(np.asarray(Image.open(dataset.file(item.path))), expected)
        for mask in item.masks:
            found = np.asarray(Image.open(dataset.file(mask))) > 0
            official = pycocotools_mask([LESION])
            assert (found & official).sum() / (found | official).sum() > 0.97


@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_each_class_of_pictures_with_several_is_a_question_of_its_own(tmp_path: Path, form: str) -> None:
    root, out = tmp_path / "set", tmp_path / "out"
    objects = [(0, 1), (0, 2), (1, 2), (1, 2)]  # picture and category; the third picture has none
    if form == "coco":
        for number in range(3):
            save(root / f"{number}.png", picture(number))
        table = coco_file([f"{number}.png" for number in range(3)], [1, 1, 1])
        table["annotations"] = [
            {"id": i, "image_id": image, "category_id": category, "segmentation": [LESION], "bbox": [10, 8, 46, 43]}
            for i, (image, category) in enumerate(objects)
        ]
        (root / "labels.json").write_text(json.dumps(table))
        official = pytest.importorskip("pycocotools.coco").COCO(root / "labels.json")
        expected = {name: set(official.getImgIds(catIds=[i])) for i, name in enumerate(CATEGORIES, 1)}
    else:
        lines = ["".join(f"{category - 1} .5 .5 .5 .5\n" for of, category in objects if of == i) for i in range(3)]
        write_yolo(root, *lines)
        expected = {"benign": {0}, "malignant": {0, 1}}
    message = refused("data", "import", form, root, out)
    assert "--mode roi cuts out each object, --multilabel asks" in message
    assert "found --mode roi" in refused("data", "import", form, root, tmp_path / "x", "--multilabel", "--mode", "roi")
    done = sonoforge("data", "import", form, root, out, "--multilabel", "--masks")
    assert f"next: sonoforge data audit --data {out}:CLASS" in done.err
    for name, images in expected.items():
        dataset = read_dataset(f"{out}:{name}")
        assert {int(Path(item.path).stem) for item in dataset.items if dataset.classes[item.label] == "1"} == images
        assert [item.group for item in dataset.items] and len(dataset.items) == 3
        assert {Path(item.path).stem: len(item.masks) for item in dataset.items} == {"0": 2, "1": 2, "2": 0}


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
        chance = np.random.default_rng(seed)
        turns = np.arange(12) / 1.91
        star = [40, 30] + chance.uniform(8, 28, (12, 1)) * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        star = star.ravel().tolist()
        one = draw(Outline((polygon(star, ""),)), (HEIGHT, WIDTH), False, Path("x"))
        other = pycocotools_mask([star])
        differ = one != other
        near = np.zeros_like(differ)  # only on the edge, where the two say differently what is inside
        near[1:-1, 1:-1] = ~(one[:-2, 1:-1] & one[2:, 1:-1] & one[1:-1, :-2] & one[1:-1, 2:]) | ~one[1:-1, 1:-1]
        assert (differ & ~near).sum() == 0 and differ.sum() < 0.06 * one.sum()


@pytest.mark.parametrize("packed", [True, False])
def test_runs_are_those_of_the_coco_authors(tmp_path: Path, packed: bool) -> None:
    mask = pytest.importorskip("pycocotools.mask")
    for seed in range(10):
        shape = np.random.default_rng(seed).random((HEIGHT, WIDTH)) > (0.02 if seed % 2 else 0.97)
        runs = mask.encode(np.asfortranarray(shape.astype(np.uint8)))
        counts = unpack_runs(runs["counts"].decode())
        assert np.array_equal(
            draw(Outline(runs=tuple(counts), size=(HEIGHT, WIDTH)), (HEIGHT, WIDTH), False, Path("x")), shape
        )
    root = tmp_path / "set"
    for i, _ in enumerate(CATEGORIES):
        save(root / f"{i}.png", picture(i))
    runs = {"size": [HEIGHT, WIDTH], "counts": runs["counts"].decode() if packed else counts}
    (root / "labels.json").write_text(json.dumps(coco_file(["0.png", "1.png"], [1, 2], runs)))
    succeed("data", "import", "coco", root, tmp_path / "out", "--masks")
    for name, number in (("benign", 0), ("malignant", 1)):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / name / f"{number}_mask.png")) > 0, shape)


def write_roboflow(root: Path, form: str) -> Path:
    """An export of Roboflow: two copies of each picture in training, as its augmentation makes them."""
    for number, part in enumerate(("train", "valid", "test")):
        sources = [f"scan{number}{i}_png" for i in range(2)]
        names = [f"{s}.rf.{c * 8}.jpg" for s in sources for c in ("ab" if part == "train" else "c")]
        categories = [1 + (i * 2 // len(names)) for i in range(len(names))]
        inner = part if form == "coco" else f"{part}/images"
        for i, name in enumerate(names):
            save(root / inner / name, picture(10 * number + i))
            if form == "yolo":
                (root / part / "labels").mkdir(exist_ok=True)
                cells = " ".join(f"{v / (WIDTH, HEIGHT)[j % 2]:.8f}" for j, v in enumerate(LESION))
                (root / part / "labels" / f"{name[:-4]}.txt").write_text(f"{categories[i] - 1} {cells}\n")
        if form == "coco":
            (root / part / "_annotations.coco.json").write_text(json.dumps(coco_file(names, categories)))  # type: ignore[arg-type]
    if form == "yolo":
        (root / "data.yaml").write_text("train: ../train/images\nnc: 2\nnames: ['benign', 'malignant']\n")
    return root


@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_copies_that_roboflow_made_are_one_group_and_its_split_is_kept(tmp_path: Path, form: str) -> None:
    root = write_roboflow(tmp_path / "export", form)
    assert f"sonoforge data import {form}" in refused("train", "--data", root)
    path = Path(shutil.make_archive(str(tmp_path / "export"), "zip", root))
    succeed("data", "import", form, path, tmp_path / "out", "--masks")
    items = read_dataset(tmp_path / "out").items
    assert len(items) == 8 and len({item.group for item in items}) == 6
    assert {item.group: item.split for item in items} == {
        f"scan{n}{i}_png": "test" if n == 2 else "train" for n in range(3) for i in range(2)
    }
    mask = np.asarray(Image.open(next((tmp_path / "out" / "benign").glob("*_mask.png")))) > 0
    official = pycocotools_mask([LESION])
    assert (mask & official).sum() / (mask | official).sum() > 0.97


def write_yolo(root: Path, *lines: str, names: str = "0: benign\n  1: malignant") -> Path:
    for number, line in enumerate(lines):
        save(root / "images" / "train" / f"{number}.png", picture(number))
        (root / "labels" / "train").mkdir(parents=True, exist_ok=True)
        (root / "labels" / "train" / f"{number}.txt").write_text(line)
    (root / "data.yaml").write_text(f"names:\n  {names}\n")
    return root


def test_boxes_are_cut_out_one_by_one_where_a_picture_has_several_classes(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "yolo", "0 .25 .5 .5 .5\n1 .75 .5 .25 .5\n", "1 0.5 0.5 0.5 0.5\n", "")
    save(root / "images" / "train" / "9.png", picture(9))  # not labelled
    assert "found objects of the classes benign, malignant" in refused(
        "data", "import", "yolo", root, tmp_path / "full"
    )
    done = succeed("data", "import", "yolo", root, tmp_path / "out", "--mode", "roi", "--margin", "1")
    assert done.json["images"] == {"benign": 1, "malignant": 2}
    cut = np.asarray(Image.open(tmp_path / "out" / "benign" / "0_1.png"))
    assert cut.shape == (64, 64)  # of a box of 40 x 30 pixels: the least square that shows its surroundings
    assert np.array_equal(cut[2:62], picture(0)[:, :64])  # higher than the picture: black above and below
    groups = {item.path: item.group for item in read_dataset(tmp_path / "out").items}
    assert groups == {"benign/0_1.png": "0", "malignant/0_2.png": "0", "malignant/1_1.png": "1"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("0 10 20 30 40",), "expected shares of the picture from 0 to 1, not pixels"),
        (("7 .5 .5 .5 .5",), "expected a class from 0 to 1"),
        (("0 .5 .5 .5",), "found an outline of 3 numbers"),
        (("0 .5 .5 nan .5",), "each below a million"),
        (("",), "found no object in 1 pictures"),
    ],
)
def test_labels_that_are_wrong_are_refused_in_one_line(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    assert message in refused("data", "import", "yolo", write_yolo(tmp_path / "yolo", *lines), tmp_path / "out")


def annotated(segmentation: object) -> dict[str, object]:
    return {"annotations": [{"image_id": 0, "category_id": 1, "segmentation": segmentation}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": [{"id": 0, "file_name": "../../secret.png"}]}, "names '../../secret.png', which is not below"),
        ({"annotations": [{"image_id": 5, "category_id": 1}]}, "of an image or a category that is not listed"),
        (annotated({"size": [60, 80], "counts": [1, 2]}),
         "runs that do not fill 80x60"),
        (annotated({"size": [10**6, 10**6], "counts": [10**12]}),
         "expected 50000000 at most"),
        (annotated([["a", 1, 2, 3, 4, 5]]), "not of numbers"),
        ({"categories": 5}, "found no COCO annotations"),
    ],
)  # fmt: skip
def test_annotations_that_are_wrong_are_refused_in_one_line(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    save(tmp_path / "set" / "0.png", picture(0))
    (tmp_path / "set" / "x.json").write_text(json.dumps({**coco_file(["0.png"], [1]), **change}))
    assert message in refused("data", "import", "coco", tmp_path / "set", tmp_path / "out")


def test_volumes_become_slices_of_their_class_with_the_masks_of_their_label_maps(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    root, volumes = tmp_path / "scans", {}
    for seed, name in enumerate(("benign/p1.nii.gz", "malignant/p2.nii")):
        voxels = np.random.default_rng(seed).integers(0, 900, (40, 32, 4)).astype(np.int16)
        volumes[Path(name).name.split(".")[0]] = voxels
        (root / name).parent.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), root / name)
    labels = np.zeros((40, 32, 4), np.uint8)
    labels[5:20, 4:9, 2], labels[22:30, 4:9, 2] = 1, 2
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), root / "benign" / "p1_seg.nii.gz")
    assert f"sonoforge data import frames {root} OUT" in refused("train", "--data", root)
    succeed("data", "import", "frames", root, tmp_path / "out", "--window=100,700")
    dataset = read_dataset(tmp_path / "out")
    assert [(item.path, item.group) for item in dataset.items] == [
        (f"{name}/{p}_slice{n:03d}.png", p)
        for name, p in (("benign", "p1"), ("malignant", "p2")) for n in (1, 2, 3, 4)
    ]  # fmt: skip
    for item in dataset.items:
        p, number = Path(item.path).stem.split("_slice")
        voxels = volumes[p][:, :, int(number) - 1].T
        expected = np.rint(((voxels.astype(np.float32) - 100) / 600).clip(0, 1) * 255)
        assert np.array_equal(np.asarray(Image.open(dataset.file(item.path))), expected)
    assert dataset.structures == ("structure-1", "structure-2")
    mask = np.asarray(Image.open(tmp_path / "out" / "benign" / "p1_slice003_mask_structure-2.png")) > 0
    assert np.array_equal(mask, labels[:, :, 2].T == 2)


def test_films_and_pages_become_their_distinct_frames_of_one_group(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="needs the extra video")
    root = tmp_path / "set"
    for name in ("benign", "malignant"):
        (root / name).mkdir(parents=True)
    frames = np.stack([draw_scan(seed, 64) for seed in (1, 1, 2, 3)])
    film = cv2.VideoWriter(str(root / "benign/film.avi"), cv2.VideoWriter_fourcc(*"FFV1"), 10, (64, 64))
    for frame in frames:
        film.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    film.release()
    shutil.copy(root / "benign/film.avi", root / "malignant/film.avi")
    assert f"sonoforge data import frames {root} OUT" in refused("train", "--data", root)
    (root / "malignant/film.avi").unlink()
    first, *others = map(Image.fromarray, frames)
    first.save(root / "malignant/pages.tif", save_all=True, append_images=others)
    first.save(root / "malignant/frozen.tif", save_all=True, append_images=[first])
    succeed("data", "import", "frames", root, tmp_path / "out")
    for own in ("benign/film", "malignant/pages"):
        for number in (1, 3, 4):
            with Image.open(tmp_path / "out" / f"{own}_frame{number:04d}.png") as picture:
                assert np.abs(np.asarray(picture).astype(int) - frames[number - 1]).max() <= 2  # its colours are YCbCr
    dataset = read_dataset(tmp_path / "out")
    groups = {item.path: item.group for item in dataset.items}
    assert len(groups) == 7 and len(set(groups.values())) == 3
    assert "malignant/frozen_frame0001.png" in groups


def test_clips_become_their_distinct_frames_and_stills_stay(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    from dicom_files import data_set, plant
    from dicom_files import save as save_dicom

    root = tmp_path / "scans"
    frames = np.stack([draw_scan(seed, 64) for seed in (1, 1, 2, 3, 3)])
    for name in ("benign", "malignant"):
        (root / name).mkdir(parents=True)
    save_dicom(plant(data_set(frames)), root / "benign" / "clip.dcm")
    save_dicom(plant(data_set(frames[:1] // 2)), root / "malignant" / "still")
    save(root / "malignant" / "plain.png", draw_scan(9, 64))
    succeed("data", "import", "frames", root, tmp_path / "out")
    dataset = read_dataset(tmp_path / "out")
    expected = {
        "benign/clip_frame0001.png": frames[0], "benign/clip_frame0003.png": frames[2],
        "benign/clip_frame0004.png": frames[3], "malignant/still.png": frames[0] // 2,
        "malignant/plain.png": draw_scan(9, 64),
    }  # fmt: skip
    assert {item.path for item in dataset.items} == expected.keys()
    for path, pixels in expected.items():
        assert np.array_equal(np.asarray(Image.open(dataset.file(path))), pixels)
    groups = {item.path: item.group for item in dataset.items}
    assert groups["benign/clip_frame0001.png"] == groups["malignant/still.png"]  # one patient, by a hash of the number
    assert (
        "Zebedee" not in (tmp_path / "out" / "groups.csv").read_text() + (tmp_path / "out" / "import.json").read_text()
    )

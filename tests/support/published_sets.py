"""Small copies of the sets and folders that ``data import`` reads, in their official layouts."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from scans import draw_scan, save

HEIGHT, WIDTH = 60, 80
SHAPE = (20, 16, 3)  # columns, rows, slices
LESION = [10.3, 12.7, 40.2, 8.1, 55.9, 30.4, 33.0, 50.6, 12.5, 41.2]
CATEGORIES = ("benign", "malignant")


def picture(seed: int) -> NDArray[np.uint8]:
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


def coco(root: Path) -> None:
    """The layout of https://cocodataset.org: pictures in folders of the split, one JSON file each."""
    (root / "annotations").mkdir(parents=True)
    for number, part in enumerate(("train", "val")):
        names = [f"{part}_{i}.png" for i in range(3)]
        for i, name in enumerate(names):
            save(root / part / name, picture(10 * number + i))
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(coco_file(names, [1, 2, None])))


def roboflow(root: Path, form: str) -> None:
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


def yolo(root: Path, *lines: str) -> None:
    """One picture for each file of labels."""
    for number, line in enumerate(lines or ("0 .25 .5 .5 .5\n1 .75 .5 .25 .5\n", "1 0.5 0.5 0.5 0.5\n", "")):
        save(root / "images" / "train" / f"{number}.png", picture(number))
        (root / "labels" / "train").mkdir(parents=True, exist_ok=True)
        (root / "labels" / "train" / f"{number}.txt").write_text(line)
    (root / "data.yaml").write_text("names:\n  0: benign\n  1: malignant\n")


def draw_labels(structures: int, seed: int = 0) -> NDArray[np.uint8]:
    """A label map in which slice 0 is empty, and each further one has blocks of all structures."""
    labels = np.zeros(SHAPE, np.uint8)
    for label in range(1, structures + 1):
        labels[4 * label : 4 * label + 4, 2 + seed : 9 + seed, 1:] = label
    return labels


def nifti(
    path: Path,
    voxels: NDArray[np.generic],
    unit: str = "mm",
    scaled: tuple[float, float] | None = None,
    endian: str = "<",
) -> None:
    """A volume of the array's type; ``scaled`` is the slope and the intercept that readers apply."""
    nibabel = pytest.importorskip("nibabel")
    header = nibabel.Nifti1Header(endianness=endian)
    image = nibabel.Nifti1Image(voxels, np.diag([1.5, 1.25, 8.0, 1.0]), header, dtype=voxels.dtype)
    if scaled:
        image.header.set_slope_inter(*scaled)
    image.header.set_xyzt_units(unit)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


def acdc(root: Path) -> None:
    for number in (1, 2):
        folder = root / "training" / f"patient{number:03d}"
        for frame in (1, 12):
            voxels = np.random.default_rng(number * 100 + frame).integers(0, 2000, SHAPE).astype(np.int16)
            name = f"patient{number:03d}_frame{frame:02d}"
            nifti(folder / f"{name}.nii.gz", voxels)
            nifti(folder / f"{name}_gt.nii.gz", draw_labels(3, number))
        (folder / "Info.cfg").write_text("ED: 1\nES: 12\nGroup: DCM\nHeight: 184.0\n")


def mhd(path: Path, voxels: NDArray[np.generic], kind: str, **entries: str) -> None:
    """A MetaImage header and its voxels."""
    data = entries.pop("ElementDataFile", path.with_suffix(".raw").name)
    lines = {
        "ObjectType": "Image", "NDims": "3", "DimSize": " ".join(map(str, voxels.shape)),
        "ElementSpacing": "0.7 0.7 2.5", "ElementType": kind, **entries, "ElementDataFile": data,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))
    content = voxels.T.tobytes()
    path.with_name(data).write_bytes(zlib.compress(content) if "CompressedData" in entries else content)


def sliver07(root: Path, lesions: bool = False, **entries: str) -> None:
    for number in (1, 2):
        voxels = np.random.default_rng(number).integers(-1000, 1000, SHAPE).astype(np.int16)
        mhd(root / f"liver-orig{number:03d}.mhd", voxels, "MET_SHORT", **entries)
        mhd(root / f"liver-seg{number:03d}.mhd", draw_labels(1 + (lesions and number == 2)), "MET_UCHAR", **entries)


def idrid(root: Path) -> None:
    for split, numbers in (("a. Training Set", (1, 2)), ("b. Testing Set", (55,))):
        for number in numbers:
            images = root / "A. Segmentation" / "1. Original Images" / split
            masks = root / "A. Segmentation" / "2. All Segmentation Groundtruths" / split / "5. Optic Disc"
            pixels = np.random.default_rng(number).integers(0, 256, (24, 36, 3), np.uint8)
            disc = np.zeros((24, 36, 3), np.uint8)
            disc[6:18, 6:18, 0] = 255  # red, as published
            save(images / f"IDRiD_{number:02d}.jpg", pixels)
            save(masks / f"IDRiD_{number:02d}_OD.tif", disc)


def cell(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Something with detail everywhere, as fine as a microscope's."""
    coarse = np.random.default_rng(seed).integers(30, 225, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def herlev(root: Path) -> None:
    grades = ("normal_superficiel", "light_dysplastic", "severe_dysplastic", "carcinoma_in_situ")
    for number, grade in enumerate(grades):
        for slide, image in ((1, 6), (1, 7), (2, 8)):
            name = f"149143{slide}{number}0-1491437{image}0-001"
            save(root / grade / f"{name}.BMP", cell(40, 70 + slide, number))
            save(root / grade / f"{name}-d.bmp", cell(40, 70 + slide, number))


def cbis_ddsm(root: Path) -> None:
    from cbis import write_collection

    write_collection(root)


def medmnist(root: Path) -> None:
    sizes = {"train": 4, "val": 2, "test": 3}
    arrays = {f"{part}_images": np.stack([draw_scan(seed, 28) for seed in range(n)]) for part, n in sizes.items()}
    labels = {f"{part}_labels": (np.arange(n, dtype=np.uint8) % 2)[:, None] for part, n in sizes.items()}
    root.mkdir(parents=True)
    np.savez_compressed(root / "breastmnist.npz", **arrays, **labels)


def frames(root: Path) -> None:
    """Two volumes, one with a label map; a clip whose second frame repeats its first; a plain picture."""
    for seed, name in enumerate(("benign/p1.nii.gz", "malignant/p2.nii")):
        nifti(root / name, np.random.default_rng(seed).integers(0, 900, (40, 32, 4)).astype(np.int16))
    labels = np.zeros((40, 32, 4), np.uint8)
    labels[5:20, 4:9, 2], labels[22:30, 4:9, 2] = 1, 2
    nifti(root / "benign" / "p1_seg.nii.gz", labels)
    first, *others = (Image.fromarray(draw_scan(seed, 64)) for seed in (1, 1, 2, 3))
    first.save(root / "malignant" / "pages.tif", save_all=True, append_images=others)
    save(root / "malignant" / "plain.png", draw_scan(9, 64))


WRITERS: dict[str, Callable[[Path], None]] = {
    "acdc": acdc,
    "cbis-ddsm": cbis_ddsm,
    "coco": coco,
    "coco of roboflow": lambda root: roboflow(root, "coco"),
    "frames": frames,
    "idrid": idrid,
    "medmnist": medmnist,
    "sliver07": sliver07,
    "yolo": yolo,
    "yolo of roboflow": lambda root: roboflow(root, "yolo"),
}
"""Each reader's set by its name, and further forms of it."""

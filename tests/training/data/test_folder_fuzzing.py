"""Whatever a folder, zip or table holds, it is read with every file accounted for, or refused by the one error type.

``pytest -m slow -n 0 --timeout 0 tests/training/data/test_folder_fuzzing.py`` tries at least 2000 files of each kind,
``SONOFORGE_FUZZ_EXAMPLES=20000`` more.
"""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import published_sets
from file_structure import CHANGES, EDITS, changed, edit, numbers
from mutations import ODD_VALUES, SPELLINGS, altered, respelled
from scans import draw_scan, write_set
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.inputs import expand
from sonoforge.training.data.collections.importing import ImportSettings
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.data.readers import frames, open_reader
from sonoforge.training.data.unpacking import unpacked
from worker import Worker

EXAMPLES = int(os.environ.get("SONOFORGE_FUZZ_EXAMPLES", "60"))
FOLDERS = (
    *("benign", "Benign ", "malignant", "train", "test", "images", "masks", "@eaDir", "p1", "mülL", "x.png"),
    *("[1]", "-a"),
)
STEMS = (
    *("1", "2", "1_mask", "1-mask", "2_MASK_1", "mask_1", "1_mask_left", "a b", "b\nad", "1.0", "SYNOPHOTO_THUMB_M"),
    "ä",
)
NAMES = st.builds(
    lambda stem, end: stem + end, st.sampled_from(STEMS), st.sampled_from((".png", ".PNG", ".jpg", ".txt", ""))
)
FILES = st.tuples(
    st.lists(st.sampled_from(FOLDERS), max_size=3),
    NAMES | st.sampled_from(("groups.csv", "Groups.csv", "metadata.csv", "groups.xlsx", "Thumbs.db", ".hidden.png")),
    st.sampled_from(("scan", "mask", "bytes", "empty", "table", "link up", "link away", "link", "folder")),
)


fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="SONOFORGE_FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("contents")
    Image.fromarray(draw_scan(1, 32)).save(folder / "scan.png")
    Image.fromarray((np.eye(32) * 255).astype(np.uint8)).save(folder / "mask.png")
    table = b"file;group\r\nbenign\\1.png;1\r\n1.png;1.0\r\n"
    return {name: (folder / f"{name}.png").read_bytes() for name in ("scan", "mask")} | {
        "bytes": b"\x89PNG\r\n\x1a\n" + bytes(range(200)),
        "empty": b"",
        "table": table,
    }


def build(root: Path, files: list[tuple[list[str], str, str]], contents: dict[str, bytes]) -> None:
    """Write what fits; a name that is taken by a file or folder is left out."""
    for folders, name, kind in files:
        path = root.joinpath(*folders, name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "folder":
                path.mkdir()
            elif kind.startswith("link"):
                path.symlink_to({"link up": root, "link away": root / "nowhere", "link": root / "benign"}[kind])
            elif not path.is_symlink():
                path.write_bytes(contents[kind])
        except OSError:
            continue


@fuzzed
@given(st.lists(FILES, min_size=1, max_size=14), st.integers(1, 2))
def test_any_folder_is_read_or_refused(
    contents: dict[str, bytes], files: list[tuple[list[str], str, str]], classes: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        build(root, files, contents)
        started = time.process_time()
        try:
            dataset = read_dataset(root, classes)
        except SonoforgeError as error:
            assert len(str(error)) < 2000  # a name with a line break is shown as one line
        else:
            own = [path for item in dataset.items for path in (item.path, *item.masks)]
            assert len(set(own)) == len(own) and all(dataset.file(path).is_file() for path in own)
            assert len({name.strip().casefold() for name in dataset.classes}) == len(dataset.classes) >= classes
            assert "@eaDir" not in "".join(own) and "SYNO" not in "".join(own)
        found = expand([str(root)], recursive=True)
        assert all(Path(file).is_file() or file in found.failures for file in found.files)
        assert time.process_time() - started < 5


def volume_files() -> list[bytes]:
    """Small NIfTI files: pictures, volumes and a time series of whole numbers, floats with a slope, and colours."""
    nibabel, rng = pytest.importorskip("nibabel"), np.random.default_rng(1)
    files = []
    for dtype in ("u1", "<i2", ">u2", "<i8", "<f4", "<f8", "RGB"):
        for shape in ((20, 18, 3), (20, 18), (20, 18, 2, 2)):
            voxels = rng.integers(0, 9, shape).astype("u1" if dtype == "RGB" else dtype)
            if dtype == "RGB":
                voxels = np.repeat(voxels[..., None], 3, -1).view([(name, "u1") for name in "RGB"])[..., 0]
            header = nibabel.Nifti1Header(endianness=dtype[0].replace("u", "<").replace("R", "<"))
            image = nibabel.Nifti1Image(voxels, np.eye(4), header, dtype=voxels.dtype)
            if len(shape) == 3 and dtype != "RGB":
                image.header.set_slope_inter(2, 1)
            files.append(image.to_bytes())
    return files


@pytest.mark.slow
def test_thousands_of_damaged_volumes_are_imported_or_refused(tmp_path: Path) -> None:
    """As volumes, as label maps and packed, beside a volume that is sound."""
    files, folder = volume_files(), tmp_path / "set" / "benign"
    folder.mkdir(parents=True)
    (folder / "sound.nii").write_bytes(files[0])
    (folder / "other.nii").write_bytes(files[0])
    turns = itertools.count()

    def use(data: bytes) -> None:
        # A name is used once, as the last volumes are kept.
        name = f"{'' if data[0] % 2 else 'other_seg'}{next(turns)}.nii"
        path = folder / (name + ".gz" if data[0] & 2 else name)
        path.write_bytes((gzip.compress(data[1:], 1) if data[0] & 2 else data[1:]) if data[0] & 4 else data[1:])
        failed = None
        try:
            for picture in frames.plan(tmp_path / "set", ImportSettings()):
                try:
                    found = picture.read()
                except SonoforgeError as error:
                    failed = error
                    assert "sound" not in picture.path
                else:
                    assert found.pixels.dtype == np.uint8 and found.pixels.size
        finally:
            path.unlink()
        if failed:
            raise failed

    reader = Worker(use, 4_000_000_000)
    built, found = [numbers(file) for file in files], Counter[str]()

    @settings(fuzzed, max_examples=max(EXAMPLES, 2000))
    @given(st.integers(0, len(files) - 1), st.integers(0, 7), CHANGES, st.just([]) | EDITS)
    def read(number: int, how: int, changes: list[Any], edits: list[Any]) -> None:
        data = bytes([how]) + edit(changed(files[number], built[number], changes), edits)
        outcome = reader.try_file(data)
        found[outcome.kind] += 1
        assert outcome.kind in ("answered", "refused"), f"{outcome}: {data.hex()}"
        assert "\n" not in outcome.said and len(outcome.said) < 2000
        assert outcome.peak_mb < 400, f"{outcome}: {data.hex()}"

    read()
    reader.close()
    print(dict(found))


# ---- zips, tables and labels


def zipped(files: Mapping[str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name twice
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, kind)
    return buffer.getvalue()


TABLES = {
    "labels.csv": "file,label,patient,split\na.png,benign,1,train\nb.png,malignant,2,test\nc.png,0,1.0,train\n",
    "metadata.csv": "file_name,label\r\na.png,0\r\nb.png,1\r\nc.png,NA\r\n",
    "_classes.csv": "filename, benign, malignant\na.png, 1, 0\nb.png, 0, 1\nc.png, 1, 0\n",
    "project.csv": "annotation_id;choice;image\n1;x;/data/upload/3/0000feef-a.png\n2;y;/data/local-files/?d=b.png\n",
    "metadata.jsonl": '{"file_name": "a.png", "label": 0}\n{"file_name": "b.png", "label": 1.0}\n',
}
DOCUMENTS: Mapping[str, Any] = {
    "dataset.json": {"labels": [["a.png", 0], ["b.png", 1], ["c.png", None]]},
    "labels.json": {"a.png": "x", "b.png": "y", "c.png": 1.5},
    "rows.json": [{"image": name, "choice": name[0], "patient": 1} for name in ("a.png", "b.png", "c.png")],
    "tasks.json": [
        {
            "data": {"image": f"/data/upload/1/0000feef-{name}.png"},
            "annotations": [{"result": [{"from_name": "c", "type": "choices", "value": {"choices": [name]}}]}],
        }
        for name in "abc"
    ],
}


def read_plan(name: str, folder: Path) -> None:
    """Plan an import in each way, and draw its pictures."""
    for settings_of in (ImportSettings(masks=True), ImportSettings(multilabel=True), ImportSettings(mode="roi")):
        try:
            planned = open_reader(name).plan(folder, settings_of)
        except SonoforgeError as error:
            if settings_of.mode == "roi":
                raise
            assert one_line(error), str(error)
            continue
        for picture in planned:
            try:
                found = picture.read()
            except SonoforgeError as error:
                assert one_line(error), str(error)
            else:
                assert all(mask.shape == found.pixels.shape[:2] for mask in found.masks)


def one_line(error: SonoforgeError) -> bool:
    return len(str(error).splitlines()) == 1 and len(str(error)) < 2000


def outcome(read: Callable[[], object]) -> str:
    """Read, and let one line of the one error type pass."""
    started, found = time.process_time(), "read"
    try:
        read()
    except SonoforgeError as error:
        assert one_line(error), str(error)
        found = "refused"
    assert time.process_time() - started < 5
    return found


def read_all(path: Path, store: Path) -> None:
    dataset = read_dataset(unpacked(path, store), 1)
    own = [path for item in dataset.items for path in (item.path, *item.masks)]
    assert len(set(own)) == len(own) and all(dataset.file(path).is_file() for path in own)
    assert all(len(name.splitlines()) == 1 for name in dataset.classes)


@pytest.mark.parametrize("examples", [EXAMPLES, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["zip", "csv", "json", "coco", "yolo"])
@pytest.mark.timeout(0)
def test_damaged_files_of_labels_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, kind: str, examples: int
) -> None:
    root = tmp_path_factory.mktemp(kind)
    own = write_set(root / "set", {"benign": 2, "malignant": 2}).rglob("*.png")
    scans = {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(own)}
    scans["set/metadata.csv"] = b"file,device\nbenign/scan (1).png,GE\n"
    whole = [zipped(scans, how) for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
    for number, letter in enumerate("abc"):
        published_sets.save(root / "loose" / f"{letter}.png", draw_scan(number, 32))
    if kind in ("coco", "yolo"):
        published_sets.WRITERS[kind](root / kind)
        (root / kind / "data.yaml").unlink(missing_ok=True)
    annotations = published_sets.coco_file([f"train_{i}.png" for i in range(3)], [1, 2, None])
    annotations["annotations"][0]["segmentation"] = {"size": [60, 80], "counts": [0, 2000, 2800]}  # type: ignore[index]
    tried = Counter[str]()
    listed = "train: ../train/images\nnc: 2\nnames:\n  0: benign\n  1: malignant\n"

    @settings(fuzzed, max_examples=examples)
    @given(st.integers(0, 99), SPELLINGS, ODD_VALUES, EDITS, st.sampled_from(("words", "bytes", "both")))
    def change(which: int, words: Any, odd: Any, edits: Any, how: str) -> None:
        def text(whole: str) -> bytes:
            data = respelled(whole, words) if how != "bytes" else whole.encode()
            return edit(data, edits) if how != "words" else data

        def document(whole: Any) -> bytes:
            data = json.dumps(altered(whole, odd) if how != "bytes" else whole).encode()
            return edit(data, edits) if how != "words" else data

        if kind == "zip":
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "set.zip"
                if which % 2:
                    path.write_bytes(edit(whole[which // 2 % 2], edits[:2]))
                else:
                    names = respelled("\n".join(scans), words).decode("utf-8", "replace").split("\n")
                    path.write_bytes(zipped(dict(zip(names, scans.values(), strict=False))))
                tried[outcome(lambda: read_all(path, Path(folder) / "store"))] += 1
        elif kind in ("csv", "json"):
            table = [*(TABLES if kind == "csv" else DOCUMENTS)][
                which % (len(TABLES) if kind == "csv" else len(DOCUMENTS))
            ]
            path = root / "loose" / table
            path.write_bytes(text(TABLES[table]) if kind == "csv" else document(DOCUMENTS[table]))
            for given_path in (path, path.parent):
                tried[outcome(lambda given_path=given_path: read_all(given_path, root))] += 1  # type: ignore[misc]
            path.unlink()
        elif kind == "coco":
            (root / kind / "annotations" / "instances_train.json").write_bytes(document(annotations))
            tried[outcome(lambda: read_plan(kind, root / kind))] += 1
        else:
            (root / kind / "data.yaml").write_bytes(text(listed) if which % 2 else listed.encode())
            lines = "0 .25 .5 .5 .5\n1 .1 .1 .9 .1 .5 .9\n1\n"
            (root / kind / "labels" / "train" / "0.txt").write_bytes(lines.encode() if which % 3 == 1 else text(lines))
            tried[outcome(lambda: read_plan(kind, root / kind))] += 1

    change()
    # Which examples are drawn depends on what else was imported: of the rarer outcome there are a few, at least one.
    assert sum(tried.values()) >= examples and min(tried["read"], tried["refused"]) > 0

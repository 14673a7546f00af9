"""Whatever a folder holds, it is read with every file accounted for, or refused by the one error type.

``SONOFORGE_FUZZ_EXAMPLES=20000 pytest -n 0 tests/training/data/test_folder_fuzzing.py`` tries many more, and
``pytest -m slow -n 0 --timeout 0`` at least 2000 volumes.
"""

from __future__ import annotations

import gzip
import itertools
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from file_structure import CHANGES, EDITS, changed, edit, numbers
from scans import draw_scan
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.inputs import expand
from sonoforge.training.data.collections.importing import ImportSettings
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.data.readers import frames
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

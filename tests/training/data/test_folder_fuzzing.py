"""Whatever a folder holds, it is read with every file accounted for, or refused by the one error type.

``SONOFORGE_FUZZ_EXAMPLES=20000 pytest -n 0 tests/training/data/test_folder_fuzzing.py`` tries many more.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from scans import draw_scan
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.inputs import expand
from sonoforge.training.data.datasets import read_dataset

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


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="SONOFORGE_FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
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

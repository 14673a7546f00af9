"""The mini-MIAS set turned into a folder of classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from program import sonoforge, succeed
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.collections import mini_mias
from sonoforge.training.data.collections.import_settings import ImportSettings
from sonoforge.training.data.datasets import read_dataset


def read_grey(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


@pytest.fixture
def mias(tmp_path: Path) -> Path:
    """Three films of 512 pixels a side, half of the published side."""
    root = tmp_path / "all-mias"
    root.mkdir()
    y, x = np.mgrid[:512, :512]
    film = np.where(((y - 256) / 200) ** 2 + ((x - 120) / 200) ** 2 < 1, 110, 0) * (x >= 120)
    film[96:112, 200:216] = 230  # centre at x = 208, 104 from the top
    for number in (1, 2, 3):
        Image.fromarray(film.astype(np.uint8)).save(root / f"mdb{number:03d}.pgm")
    (root / "Info.txt").write_text(
        "INFORMATION:\n the list\n\n"
        "mdb001 G CIRC B 416 816 16\n"  # 1024 - 2 * 104 = 816 from the bottom
        "mdb001 G CIRC M 600 500 50\n"
        "mdb002 D NORM \n"
        "mdb003 F CALC M *NOTE 3*\n"
    )
    return root


def test_mias_circles_count_from_the_bottom(mias: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = sonoforge("data", "import", "mini-mias", mias, out, "--mode", "roi", "--masks", "--json").json
    assert result["images"] == {"benign": 1, "malignant": 1}
    assert list(result["left_out"]) == ["malignant/mdb003_1.png"]
    image, mask = read_grey(out / "benign/mdb001_1.png"), read_grey(out / "benign/mdb001_1_mask.png") > 0
    assert image.shape == (64, 64)
    assert (image[mask] == 230).mean() == 1 and (image[~mask] == 230).mean() < 0.03  # the disc in its square
    assert abs(mask.sum() - np.pi * 8**2) < 10


def test_mias_films_by_severity_and_woman(mias: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert sonoforge("data", "import", "mini-mias", mias, out).code == 0
    dataset = read_dataset(out)
    assert {item.path: item.group for item in dataset.items} == {
        "malignant/mdb001.png": "mias-001",
        "malignant/mdb003.png": "mias-002",
        "normal/mdb002.png": "mias-001",
    }
    assert set(np.unique(read_grey(out / "normal/mdb002.png"))) == {0, 110, 230}  # levels as published


def test_mias_by_command(mias: Path, tmp_path: Path) -> None:
    assert "did you mean mini-mias?" in sonoforge("data", "import", "mini-mais", mias, "out").err
    done = succeed("data", "import", "mini-mias", mias, tmp_path / "out")
    assert done.json["images"] == {"malignant": 2, "normal": 1}
    assert "sonoforge data audit --data" in done.err


def test_data_list_tells_how_to_get_and_read_both() -> None:
    text = " ".join(sonoforge("data", "list").out.replace("│", " ").split())
    for wanted in ("data import mini-mias FOLDER OUT", "data import cbis-ddsm FOLDER OUT", "'sonoforge[dicom]'"):
        assert wanted in text


def test_damaged_mias_table_is_refused(mias: Path) -> None:
    (mias / "Info.txt").write_text("mdb001 G CIRC B 416\n")
    with pytest.raises(SonoforgeError, match="line 1: found 'mdb001 G CIRC B 416'"):
        mini_mias.read_films(mias / "Info.txt")


def test_real_mias(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "MIAS"
    if not folder.is_dir():
        pytest.skip(f"no mini-MIAS at {folder}: this test needs it")
    films = mini_mias.read_films(mini_mias.find_tables(folder)[0])
    assert len(films) == 322 and len({film.group for film in films}) == 161
    classes = [picture.path.split("/")[0] for picture in mini_mias.plan(folder, ImportSettings(longest=256))]
    assert {name: classes.count(name) for name in set(classes)} == {"normal": 207, "benign": 63, "malignant": 52}
    # A well-defined mass is brighter than the tissue around it, if and only if it is looked for at its place.
    contrasts = {"flipped": [], "not flipped": []}
    for film in films:
        for abnormality in film.abnormalities:
            if abnormality.kind != "CIRC" or abnormality.circle is None:
                continue
            path = folder / f"{film.name}.png"
            levels = read_grey(path)
            x, y, radius = abnormality.circle
            wide = mini_mias.Abnormality("CIRC", False, (x, y, round(1.7 * radius)))
            inside = mini_mias.draw_circle(path, abnormality, levels.shape)
            ring = mini_mias.draw_circle(path, wide, levels.shape) & ~inside & (levels > 40)
            for name, picture in (("flipped", levels), ("not flipped", levels[::-1])):
                contrasts[name].append(picture[inside].mean() - picture[ring].mean())
    assert np.median(contrasts["flipped"]) > 5
    assert np.median(contrasts["not flipped"]) < np.median(contrasts["flipped"]) - 5

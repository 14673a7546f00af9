"""Mammograms: the breast found, DICOM levels, CBIS-DDSM turned into a folder of classes."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.collections import cbis_ddsm
from sonoforge.training.data.collections.cbis_ddsm import read_dicom
from sonoforge.training.data.collections.import_settings import ImportSettings
from sonoforge.training.data.collections.mammogram import (
    Box,
    apply_window,
    find_breast,
    frame_breast,
    grey_window,
    lesion_square,
    pad_to,
)
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.verbs import data_import

pytest.importorskip("pydicom", reason="reading DICOM is an extra: pip install 'sonoforge[dicom]'")

from cbis import HEIGHT, WIDTH, draw_film, lesion_mask, save_dicom, write_collection


@pytest.fixture(scope="module")
def cbis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cbis") / "manifest"
    write_collection(root)
    return root


def run_import(
    source: Path, out: Path, name: str = "cbis-ddsm", resume: bool = False, **settings: object
) -> Mapping[str, object]:
    pictures = ImportSettings(**settings)  # type: ignore[arg-type]
    config = data_import.DataImportConfig(name, str(source), str(out), pictures, resume)
    return data_import.main(config).result


def read_grey(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


def read_rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "groups.csv").open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


# ---- the breast


@pytest.mark.parametrize("right", [False, True])
def test_breast_is_found_without_label_and_scratch_and_framed_from_the_chest_wall(right: bool) -> None:
    film = draw_film(right=right)
    box, square = frame_breast(find_breast(film), film.shape)
    assert square.bottom - square.top == square.right - square.left
    wall, rim = (WIDTH, WIDTH - 150) if right else (0, 150)
    assert (square.right if right else square.left) == wall
    assert abs((box.left if right else box.right) - rim) < 12
    assert abs(box.top - 40) < 12 and abs(box.bottom - 380) < 12
    framed = pad_to(square, box, apply_window(box.cut(film), (0, 65535)))
    assert framed.shape == (square.bottom - square.top,) * 2
    label = framed[:60, :80] if right else framed[:60, -80:]
    assert label.max() == 0  # black, where the film has its label


def test_a_film_without_contrast_has_no_breast() -> None:
    assert not find_breast(np.full((100, 80), 7, np.uint16)).any()


def test_window_spreads_the_breast_over_all_grey_levels() -> None:
    film = draw_film()
    breast = find_breast(film)
    low, high = grey_window(film, breast)
    inside = np.asarray(Image.fromarray(breast).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST))
    assert low <= np.quantile(film[inside], 0.01) and np.quantile(film[inside], 0.999) <= high < 65535
    pixels = apply_window(film, (low, high))
    for y, x in np.random.default_rng(0).integers(0, (HEIGHT, WIDTH), (200, 2)):  # one pixel at a time, in float64
        expected = round(255 * min(max((float(film[y, x]) - low) / (high - low), 0), 1))
        assert abs(int(pixels[y, x]) - expected) <= 1
    assert pixels.min() == 0 and pixels.max() == 255


def test_a_cut_beyond_the_film_is_black_there() -> None:
    film = np.arange(12, dtype=np.uint16).reshape(3, 4) + 1
    np.testing.assert_array_equal(Box(-1, 2, 2, 6).cut(film), [[0, 0, 0, 0], [3, 4, 0, 0], [7, 8, 0, 0]])


def test_region_lies_within_the_film_around_the_lesion() -> None:
    mask = np.zeros((500, 400), bool)
    mask[:100, 350:] = True  # in the corner: 100 x 50
    box = lesion_square(mask, 1.5)
    assert box == Box(0, 150, 250, 400)
    mask[:] = False
    mask[250, 200] = True
    assert lesion_square(mask, 1.5) == Box(218, 282, 168, 232)  # never below 64 pixels


# ---- DICOM


@pytest.mark.parametrize(("bits", "dtype"), [(16, np.uint16), (12, np.uint16), (8, np.uint8), (16, np.int16)])
def test_white_as_zero_is_inverted_within_its_bits(tmp_path: Path, bits: int, dtype: type) -> None:
    low, high = (-(2**15), 2**15 - 1) if dtype is np.int16 else (0, 2**bits - 1)
    pixels = np.linspace(low, high, 64 * 48).astype(dtype).reshape(64, 48)
    save_dicom(tmp_path / "a" / "b" / "c" / "x.dcm", pixels, "MONOCHROME2", bits)
    save_dicom(tmp_path / "a" / "b" / "c" / "y.dcm", pixels, "MONOCHROME1", bits)
    np.testing.assert_array_equal(read_dicom(tmp_path / "a" / "b" / "c" / "x.dcm"), pixels)
    inverted = read_dicom(tmp_path / "a" / "b" / "c" / "y.dcm")
    assert inverted.dtype == dtype
    np.testing.assert_array_equal(inverted.astype(int), low + high - pixels.astype(int))


def test_damaged_dicom_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c" / "x.dcm"
    save_dicom(path, draw_film())
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(SonoforgeError, match=r"x\.dcm: found 4422 bytes of pixels, expected 252000") as caught:
        read_dicom(path)
    assert "\n" not in str(caught.value)
    path.write_bytes(b"no DICOM")
    with pytest.raises(SonoforgeError, match="does not begin as DICOM"):
        read_dicom(path)


def test_missing_pydicom_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_dicom(tmp_path / "a" / "b" / "c" / "x.dcm", draw_film())
    for name in [name for name in sys.modules if name.split(".")[0] == "pydicom"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SonoforgeError, match=r"pip install 'sonoforge\[dicom\]'"):
        read_dicom(tmp_path / "a" / "b" / "c" / "x.dcm")


# ---- CBIS-DDSM


def test_regions_are_cut_with_their_masks(cbis: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run_import(cbis, out, mode="roi", masks=True)
    assert result["images"] == {"benign": 3, "malignant": 2}
    assert set(result["left_out"]) == {  # type: ignore[call-overload]
        "benign/Mass-Test_P_00003_RIGHT_CC_1.png",
        "benign/Mass-Test_P_00004_RIGHT_CC_1.png",
    }
    assert "300x418 pixels, expected 300x420" in result["left_out"]["benign/Mass-Test_P_00004_RIGHT_CC_1.png"]  # type: ignore[index]
    dataset = read_dataset(out)
    assert {item.group for item in dataset.items} == {"P_00001", "P_00002"}  # the woman, not the view
    assert all(len(item.masks) == 1 for item in dataset.items)
    square = lesion_square(lesion_mask() > 0, 1.5)
    film = draw_film()
    for item in dataset.items:
        image, mask = read_grey(out / item.path), read_grey(out / item.masks[0])
        right = "RIGHT" in item.path
        cut = square.cut(lesion_mask())
        np.testing.assert_array_equal(mask, cut[:, ::-1] if right else cut)
        assert image.shape == (90, 90)
        assert np.corrcoef(image.ravel(), mask.ravel())[0, 1] > 0.7  # the lesion is where the mask is
        if not right:
            expected = apply_window(square.cut(film), grey_window(film, find_breast(film)))
            np.testing.assert_array_equal(image, expected)  # also of the film stored with white as 0
    rows = read_rows(out)
    assert rows["benign/Calc-Test_P_00002_RIGHT_CC_1.png"] == {
        "file": "benign/Calc-Test_P_00002_RIGHT_CC_1.png",
        "group": "P_00002",
        "split": "test",
        "kind": "calcification",
        "pathology": "BENIGN_WITHOUT_CALLBACK",
        "side": "RIGHT",
        "view": "CC",
        "density": "3",
    }


def test_full_films_come_once_with_their_worst_class(cbis: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run_import(cbis, out, longest=128)
    assert result["images"] == {"benign": 2, "malignant": 2}
    rows = read_rows(out)
    both = rows["malignant/Mass-Training_P_00001_LEFT_CC.png"]  # benign and malignant masses, and calcifications
    assert both["pathology"] == "BENIGN+MALIGNANT" and both["kind"] == "calcification+mass"
    assert not any("Calc-Training" in name for name in rows)
    left = read_grey(out / "malignant/Mass-Training_P_00001_LEFT_CC.png")
    inverted = read_grey(out / "malignant/Mass-Training_P_00001_LEFT_MLO.png")
    assert left.shape == (128, 128)
    np.testing.assert_array_equal(left, inverted)
    assert left[:, :16].mean() > 90 and left[:, -16:].mean() < 5  # the chest wall is at the left edge
    right = read_grey(out / "benign/Calc-Test_P_00002_RIGHT_CC.png")
    assert right[:, -16:].mean() > 90 and right[:, :16].mean() < 5
    assert not list(out.rglob("*_mask*"))


def test_full_films_with_masks(cbis: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run_import(cbis, out, masks=True)
    assert "benign/Mass-Test_P_00004_RIGHT_CC.png" in result["left_out"]  # type: ignore[operator]
    masks = {item.path: item.masks for item in read_dataset(out).items}
    assert len(masks["malignant/Mass-Training_P_00001_LEFT_CC.png"]) == 3
    (mask,) = masks["malignant/Mass-Training_P_00001_LEFT_MLO.png"]
    image, inside = read_grey(out / "malignant/Mass-Training_P_00001_LEFT_MLO.png"), read_grey(out / mask) > 0
    assert inside.sum() == 40 * 60
    assert image[inside].mean() > image[~inside].mean() + 60


def test_interrupted_import_is_refused_by_readers_and_continued(cbis: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_import(cbis, out, mode="roi")
    again = read_rows(out)
    with pytest.raises(SonoforgeError, match="resume it"):
        run_import(cbis, out, mode="roi")
    with pytest.raises(SonoforgeError, match="another mode, margin"):
        run_import(cbis, out, margin=2.0, resume=True)
    kept, lost = (out / f"malignant/Mass-Training_P_00001_LEFT_{view}.png" for view in ("CC_2", "MLO_1"))
    content = lost.read_bytes()
    lost.unlink()
    kept.write_bytes(b"not written again")
    with pytest.raises(SonoforgeError, match="not found below"):
        read_dataset(out)
    run_import(cbis, out, mode="roi", resume=True)
    assert lost.read_bytes() == content
    assert kept.read_bytes() == b"not written again"
    assert read_rows(out) == again
    note = json.loads((out / "import.json").read_text())
    assert note["complete"] and note["patients"] == 2
    assert set(note["tables"]) == {path.name for path in cbis.glob("*.csv")}


def test_import_says_what_it_misses(cbis: Path, tmp_path: Path) -> None:
    with pytest.raises(SonoforgeError, match=r"mass_case_description_train_set\.csv"):
        run_import(tmp_path, tmp_path.parent / "never")
    with pytest.raises(SonoforgeError, match="no such folder"):
        run_import(tmp_path / "none", tmp_path / "never")
    with pytest.raises(SonoforgeError, match="lies inside"):
        run_import(cbis, cbis / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(SonoforgeError, match="expected a new or empty folder"):
        run_import(cbis, tmp_path / "full", resume=True)
    table = tmp_path / "mass_case_description_train_set.csv"
    table.write_text("patient_id,pathology\n")
    with pytest.raises(SonoforgeError, match=r"row holds .patient_id., .pathology."):
        cbis_ddsm.read_regions(table)
    text = (cbis / table.name).read_text()
    table.write_text(text.replace("MALIGNANT", "MALIGN", 1))
    with pytest.raises(SonoforgeError, match="line 7: found pathology 'MALIGN'"):
        cbis_ddsm.read_regions(table)


def test_an_import_without_any_picture_fails(cbis: Path, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    for table in cbis.glob("*.csv"):
        (tmp_path / "tables" / table.name).write_bytes(table.read_bytes())
    with pytest.raises(SonoforgeError, match=r"none of 7 pictures could be written.*found 0 DICOM files"):
        run_import(tmp_path / "tables", tmp_path / "out", mode="roi")


def test_kind_pathology_and_split_choose_films_and_never_call_a_cancer_benign(cbis: Path, tmp_path: Path) -> None:
    def planned(**settings: object) -> set[str]:
        return {picture.path for picture in cbis_ddsm.plan(cbis, ImportSettings(**settings))}  # type: ignore[arg-type]

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
    regions = planned(mode="roi", kinds=("mass",), pathologies=("malignant",))
    assert {path.rpartition("_")[2] for path in regions} == {"2.png", "1.png"} and len(regions) == 2
    with pytest.raises(SonoforgeError, match="found none of the 7 abnormalities"):
        planned(kinds=("calcification",), pathologies=("malignant",))


def test_a_whole_film_is_squeezed_to_a_square_with_its_labels(cbis: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_import(cbis, out, framing="film", longest=60, masks=True, kinds=("mass",), splits=("train",))
    film = draw_film()
    # Each new pixel is the mean of 7 x 5 old ones.
    levels = 255 * (film.astype(float) - film.min()) / (float(film.max()) - film.min())
    means = levels.reshape(60, 7, 60, 5).mean((1, 3))
    for view in ("CC", "MLO"):  # the second is stored with white as 0
        pixels = read_grey(out / f"malignant/Mass-Training_P_00001_LEFT_{view}.png")
        assert pixels.shape == (60, 60) and np.abs(pixels - means).max() <= 1
    assert pixels[3:8, 46:55].min() > 200  # the label, which a square around the breast leaves out
    shares = lesion_mask().reshape(60, 7, 60, 5).mean((1, 3)) / 255
    mask = read_grey(out / "malignant/Mass-Training_P_00001_LEFT_MLO_mask.png") > 0
    certain = np.abs(shares - 0.5) > 0.02
    np.testing.assert_array_equal(mask[certain], (shares >= 0.5)[certain])


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("cbis-ddsm", {"mode": "roi", "framing": "film"}, "--framing: found film with --mode roi"),
        ("mini-mias", {"kinds": ("mass",)}, "mini-mias: found --kinds, which it does not take; it takes --mode"),
    ],
)
def test_choices_that_do_not_apply_are_refused(
    cbis: Path, tmp_path: Path, name: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(SonoforgeError, match=message):
        run_import(cbis, tmp_path / "out", name, **settings)
    assert not (tmp_path / "out").exists()

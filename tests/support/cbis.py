"""A few cases of CBIS-DDSM, as the NBIA Data Retriever lays them out: DICOM files and tables with simulated films."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import dicom_files

HEIGHT, WIDTH = 420, 300
LESION = (slice(180, 220), slice(40, 100))  # rows and columns


def draw_film(seed: int = 0, *, right: bool = False) -> np.ndarray:
    """16 bits: half an ellipse from the left edge, darker at its rim; a label and a scratch beside it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    distance = ((y - 210) / 170) ** 2 + (x / 150) ** 2
    film = np.where(distance < 1, 9000 + 20000 * (1 - distance), 600) + rng.normal(0, 150, (HEIGHT, WIDTH))
    film[LESION] += 12000
    film[20:60, 230:280] = 65535  # the label
    film[300:302, 160:290] = 60000  # a scratch
    film = film.clip(0, 65535).astype(np.uint16)
    return film[:, ::-1] if right else film


def save_dicom(path: Path, pixels: np.ndarray, interpretation: str = "MONOCHROME2", bits: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"PatientID": path.parts[-4], "Modality": "MG", "BitsStored": bits or pixels.itemsize * 8}
    dicom_files.save(dicom_files.data_set(pixels[None], interpretation, **about), path)


HEADER = (
    "patient_id,{density},left or right breast,image view,abnormality id,abnormality type,{a},{b},assessment,"
    "pathology,subtlety,image file path,cropped image file path,ROI mask file path\n"
)


def table_row(case: str, number: int, pathology: str) -> str:
    kind, rest = case.split("-")
    _, patient, side, view = rest.split("_", 1)[0], *rest.split("_", 1)[1].rsplit("_", 2)
    film = f"{case}/1.3.6.1/1.3.6.2/000000.dcm"
    cut, mask = (f"{case}_{number}/1.3.6.3/1.3.6.4/00000{index}.dcm" for index in (0, 1))
    # The published files end some paths with a line break within quotes.
    kind = "mass" if kind == "Mass" else "calcification"
    return f'{patient},3,{side},{view},{number},{kind},OVAL,ILL,4,{pathology},4,{film},"{cut}\n","{mask}\n"\n'


def write_collection(root: Path) -> None:
    """Write it into a new folder, in both of the retriever's namings."""
    tables = {
        "mass_case_description_train_set.csv": [
            table_row("Mass-Training_P_00001_LEFT_CC", 1, "BENIGN"),
            table_row("Mass-Training_P_00001_LEFT_CC", 2, "MALIGNANT"),
            table_row("Mass-Training_P_00001_LEFT_MLO", 1, "MALIGNANT"),
        ],
        "mass_case_description_test_set.csv": [
            table_row("Mass-Test_P_00003_RIGHT_CC", 1, "BENIGN"),  # not downloaded
            table_row("Mass-Test_P_00004_RIGHT_CC", 1, "BENIGN"),
        ],
        "calc_case_description_train_set.csv": [table_row("Calc-Training_P_00001_LEFT_CC", 1, "BENIGN")],
        "calc_case_description_test_set.csv": [
            table_row("Calc-Test_P_00002_RIGHT_CC", 1, "BENIGN_WITHOUT_CALLBACK"),
        ],
    }
    root.mkdir(parents=True)
    for name, rows in tables.items():
        words = ("breast_density", "mass shape", "mass margins") if "mass" in name else ("breast density", "c", "d")
        header = HEADER.format(density=words[0], a=words[1], b=words[2])
        (root / name).write_text(header + "".join(rows))
    images = root / "CBIS-DDSM"
    dated = "07-20-2016-DDSM-NA-74994"
    film = draw_film()
    save_dicom(images / "Mass-Training_P_00001_LEFT_CC" / dated / "1.000000-full mammogram images-1" / "1-1.dcm", film)
    for number in (1, 2):  # what is cut from a film is not read
        case = images / f"Mass-Training_P_00001_LEFT_CC_{number}" / dated
        save_dicom(case / "1.000000-cropped images-1" / "1-1.dcm", film[150:250, 20:120])
    # Stored with white as 0.
    case = images / "Mass-Training_P_00001_LEFT_MLO"
    save_dicom(case / "1.3.6.1" / "1.3.6.2" / "000000.dcm", 65535 - film, "MONOCHROME1")
    # Twelve bits, the right breast.
    case = images / "Calc-Test_P_00002_RIGHT_CC"
    save_dicom(case / "1.3.6.1" / "1.3.6.2" / "000000.dcm", draw_film(2, right=True) >> 4, bits=12)
    save_dicom(images / "Calc-Training_P_00001_LEFT_CC" / "1.3" / "1.4" / "000000.dcm", film)
    save_dicom(images / "Mass-Test_P_00004_RIGHT_CC" / "1.3" / "1.4" / "000000.dcm", draw_film(4, right=True))

"""Read CBIS-DDSM: digitised DDSM films with proven pathology, as distributed by The Cancer Imaging Archive.

Lee et al., "A curated mammography data set for use in computer-aided detection and diagnosis research", Scientific Data
4 (2017) 170177.  Four tables, ``{mass,calc}_case_description_{train,test}_set.csv``, have one line for each abnormality
on each film.  The film is the only DICOM file below a folder such as ``Mass-Training_P_00001_LEFT_CC``.  The folders in
between depend on the settings of the NBIA Data Retriever, and do not always agree with the tables' paths; only their
first part, the folder's name, is used.  The tables' patient_id identifies the woman; PatientID inside the DICOM files
is the folder's name, one per view.
"""

import functools
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.csv_tables import read_table
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.collections.importing import ImportSettings, Picture, PlannedPicture, Reader

_TABLE = re.compile(r"(?P<kind>mass|calc)_case_description_(?P<split>train|test)_set.*\.csv", re.IGNORECASE)
_CASE_FOLDER = re.compile(r"(Mass|Calc)-(Training|Test)_P_\d+_(LEFT|RIGHT)_(CC|MLO)(_\d+)?")
_KINDS = {"mass": "mass", "calc": "calcification"}
_COLUMNS = ("patient_id", "left or right breast", "image view", "abnormality id", "pathology", "image file path")
# Regions that needed no call-back are benign, as in the paper's counts of benign and malignant cases (table 1).
_CLASS = {"MALIGNANT": "malignant", "BENIGN": "benign", "BENIGN_WITHOUT_CALLBACK": "benign"}


class Region(NamedTuple):
    """One line of the tables: an abnormality on a film."""

    patient: str  # `P_00001`
    side: str  # `LEFT` or `RIGHT`
    view: str  # `CC` or `MLO`
    kind: str  # `mass` or `calcification`
    split: str  # `train` or `test`, by the table
    pathology: str  # as in the table, a key of `_CLASS`
    density: str  # breast density, 1 to 4, or empty
    folder: str  # of the film: `Mass-Training_P_00001_LEFT_CC`


def find_tables(folder: Path) -> list[Path]:
    """Find the tables at any depth, masses first, training before test."""
    tables = {}
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _CASE_FOLDER.fullmatch(name)]
        tables.update({name: Path(parent, name) for name in files if _TABLE.fullmatch(name)})
    if not tables:
        raise SonoforgeError(
            f"{folder}: mass_case_description_train_set.csv and the like are missing; download the four tables from "
            "the collection's page into this folder"
        )
    return [tables[name] for name in sorted(tables, key=lambda name: ("calc" in name.lower(), "test" in name.lower()))]


def _read_regions(table: Path) -> list[Region]:
    named: Any = _TABLE.fullmatch(table.name)
    regions = []
    for row in read_table(table, _COLUMNS, "download it again").rows:
        where, pathology = f"{table}: line {row.line}", row["pathology"]
        if pathology not in _CLASS:
            raise SonoforgeError(f"{where}: the pathology {pathology!r} is not one of {', '.join(_CLASS)}")
        folder = re.split(r"[/\\]", row["image file path"])[0]
        if not _CASE_FOLDER.fullmatch(folder):
            raise SonoforgeError(f"{where}: {folder!r} is not a folder such as Mass-Training_P_00001_LEFT_CC")
        density = row.get("breast_density") or row.get("breast density") or ""  # the kinds of table differ
        kind, split = _KINDS[named["kind"].lower()], named["split"].lower()
        side, view = row["left or right breast"], row["image view"]
        regions.append(Region(row["patient_id"], side, view, kind, split, pathology, density, folder))
    return regions


def _find_films(folder: Path) -> Mapping[str, Sequence[Path]]:
    """Find the DICOM files of every case folder, at any depth."""
    found: dict[str, list[Path]] = defaultdict(list)
    for parent, folders, files in os.walk(folder):
        folders.sort()
        parts = Path(parent).relative_to(folder).parts
        case = next((part for part in parts if _CASE_FOLDER.fullmatch(part)), None)
        if case:
            found[case] += [Path(parent, name) for name in sorted(files) if name.lower().endswith(".dcm")]
    return found


def plan(folder: Path, settings: ImportSettings) -> list[PlannedPicture]:
    """List each film with an abnormality of the chosen kinds, pathologies and splits.

    A film with a mass and calcifications is in two tables but written once, in the class of its worst abnormality; the
    columns of groups.csv describe the chosen ones. If the chosen abnormalities are benign but another is malignant, the
    film belongs to neither class and is left out.
    """
    listed = [region for table in find_tables(folder) for region in _read_regions(table)]
    wanted = {name.upper().replace("-", "_") for name in settings.pathologies}
    films: dict[tuple[str, str, str], list[Region]] = defaultdict(list)
    classes: dict[tuple[str, str, str], str] = {}
    for region in listed:
        view = region.patient, region.side, region.view
        classes[view] = max(classes.get(view, ""), _CLASS[region.pathology])  # `malignant` comes after `benign`
        chosen = ((region.kind, settings.kinds), (region.pathology, wanted), (region.split, settings.splits))
        if all(not names or own in names for own, names in chosen):
            films[view].append(region)
    if not films:
        raise SonoforgeError(
            f"{folder}: none of the {len(listed)} abnormalities in the tables fits kinds, pathologies and splits "
            "together; drop one of these"
        )
    files = _find_films(folder)
    return [
        PlannedPicture(
            f"{classes[view]}/{marked[0].folder}.png",
            marked[0].patient,
            _facts(marked),
            functools.partial(_read, files, [region.folder for region in marked], settings.longest),
        )
        for view, marked in films.items()
        if classes[view] in {_CLASS[region.pathology] for region in marked}
    ]


def _facts(regions: Sequence[Region]) -> dict[str, str]:
    """Return the columns of groups.csv; values of several abnormalities are joined by ``+``."""
    columns = ("split", "kind", "pathology", "side", "view", "density")
    return {column: "+".join(sorted({getattr(region, column) for region in regions})) for column in columns}


def _read(files: Mapping[str, Sequence[Path]], names: Sequence[str], side: int) -> Picture:
    """Resize the whole film to a square, mapping its lowest to highest grey level to 0 to 255."""
    name = next((name for name in names if files.get(name)), names[0])
    own = files.get(name, ())
    if len(own) != 1:
        raise SonoforgeError(f"{name}: folders of this name hold {len(own)} DICOM files instead of one film")
    film = read_dicom(own[0])
    low, high = float(film.min()), float(film.max())
    if not low < high:
        raise SonoforgeError(f"{name}: has the single grey level {low:g}, so it is not a mammogram; leave it out")
    scaled = (film.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    pixels = np.rint(scaled.clip(0, 255)).astype(np.uint8)
    return Picture(np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX)))


def read_dicom(path: Path) -> NDArray[Any]:
    """Decode the stored levels of a single grey frame, (H, W) of the file's own integer type.

    ``MONOCHROME1`` (the lowest level is white) is inverted within the range of the stored bits, so every picture is
    bright on dark (DICOM PS3.3, C.7.6.3.1.2).  Windows suggested in the file are not applied.
    """
    from sonoforge.runtime.images.dicom.reader import open_dicom  # noqa: PLC0415 - slow to import

    image = open_dicom(path)
    if image.photometric not in ("MONOCHROME1", "MONOCHROME2") or image.frame_count != 1:
        raise SonoforgeError(
            f"{path}: has {image.frame_count} {image.photometric} frames instead of one grey frame; leave it out"
        )
    (pixels,) = image.stored_frames()
    if image.photometric == "MONOCHROME1":
        # Lowest plus highest minus a level swaps the two ends of the range.
        lowest, highest = image.stored_range
        pixels = (lowest + highest - pixels.astype(np.int64)).astype(pixels.dtype)
    return pixels


READER = Reader("film with an abnormality", ("longest", "kinds", "pathologies", "splits"), plan, find_tables)

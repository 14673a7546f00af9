"""CBIS-DDSM: digitised films of the DDSM with proven pathology, as The Cancer Imaging Archive hands them out.

Lee et al., "A curated mammography data set for use in computer-aided detection and diagnosis research", Scientific
Data 4 (2017) 170177.  Four tables, ``{mass,calc}_case_description_{train,test}_set.csv``, have one line for each
abnormality on each film.  The pictures lie in folders of their own::

    Mass-Training_P_00001_LEFT_CC/.../*.dcm       the film, 16 bits
    Mass-Training_P_00001_LEFT_CC_1/.../*.dcm     its abnormality 1: a cut from the film, and the mask

The folders between depend on the setting of the NBIA Data Retriever (dates and descriptions, or UIDs), and neither
agrees with the tables' paths in all cases; only their first part, the folder's name, is used.  The tables also swap
the paths of cut and mask for some abnormalities, so the mask is recognised by its content: two levels, as large as the
film.
The tables' patient_id is the woman; the PatientID inside the DICOM files is the folder's name, one for each view.
"""

import functools
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.csv_tables import read_table
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.dicom.reader import open_dicom
from sonoforge.training.data.collections.import_settings import ImportSettings
from sonoforge.training.data.collections.importing import Collection, Picture, PlannedPicture
from sonoforge.training.data.collections.mammogram import (
    Film,
    apply_window,
    find_breast,
    frame_breast,
    grey_window,
    lesion_square,
    pad_to,
    square_picture,
    squeezed_picture,
)

_TABLE = re.compile(r"(?P<kind>mass|calc)_case_description_(?P<split>train|test)_set.*\.csv", re.IGNORECASE)
_CASE_FOLDER = re.compile(r"(Mass|Calc)-(Training|Test)_P_\d+_(LEFT|RIGHT)_(CC|MLO)(_\d+)?")
_KINDS = {"mass": "mass", "calc": "calcification"}
_COLUMNS = (
    "patient_id",
    "left or right breast",
    "image view",
    "abnormality id",
    "pathology",
    "image file path",
    "roi mask file path",
)
# Regions that needed no call-back are benign, as in the paper's counts of benign and malignant cases (table 1).
_CLASS = {"MALIGNANT": "malignant", "BENIGN": "benign", "BENIGN_WITHOUT_CALLBACK": "benign"}

# What `ImportSettings.pathologies` may name: the tables' words.
PATHOLOGIES = {"malignant": "MALIGNANT", "benign": "BENIGN", "benign-without-callback": "BENIGN_WITHOUT_CALLBACK"}

Folders = Mapping[str, Sequence[Path]]  # name of a case folder -> the DICOM files below it


@dataclass(frozen=True)
class Region:
    """One line of the tables: an abnormality on a film."""

    patient: str  # `P_00001`
    side: str  # `LEFT` or `RIGHT`
    view: str  # `CC` or `MLO`
    kind: str  # `mass` or `calcification`
    split: str  # `train` or `test`, by the table
    pathology: str  # as in the table: `MALIGNANT`, `BENIGN` or `BENIGN_WITHOUT_CALLBACK`
    density: str  # breast density, 1 to 4, or empty
    film_folder: str  # `Mass-Training_P_00001_LEFT_CC`
    folder: str  # `Mass-Training_P_00001_LEFT_CC_1`

    @property
    def class_name(self) -> str:
        """``malignant`` or ``benign``."""
        return _CLASS[self.pathology]


def find_tables(folder: Path) -> list[Path]:
    """Find the tables at any depth, masses first, training before test.

    Raises:
        SonoforgeError: There is none.
    """
    tables = {}
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _CASE_FOLDER.fullmatch(name)]
        tables.update({name: Path(parent, name) for name in files if _TABLE.fullmatch(name)})
    if not tables:
        raise SonoforgeError(
            f"{folder}: found no mass_case_description_train_set.csv or its like, expected them beside the pictures; "
            "download the four tables from the collection's page"
        )
    return [tables[name] for name in sorted(tables, key=lambda name: ("calc" in name.lower(), "test" in name.lower()))]


def read_regions(table: Path) -> list[Region]:
    """Read one table.

    Raises:
        SonoforgeError: It cannot be read, lacks a column, or names a pathology or a folder of another form.
    """
    named = _TABLE.fullmatch(table.name)
    if named is None:
        raise SonoforgeError(f"{table}: expected a name such as mass_case_description_train_set.csv")
    rows = read_table(table, _COLUMNS, "download it again").rows
    kind, split = _KINDS[named["kind"].lower()], named["split"].lower()
    return [_region(row, kind, split, f"{table}: line {row.line}") for row in rows]


def _region(cell: Mapping[str, str], kind: str, split: str, where: str) -> Region:
    if cell["pathology"] not in _CLASS:
        raise SonoforgeError(f"{where}: found pathology {cell['pathology']!r}, expected one of {', '.join(_CLASS)}")
    folders = [re.split(r"[/\\]", cell[column])[0] for column in ("image file path", "roi mask file path")]
    for name in folders:
        if not _CASE_FOLDER.fullmatch(name):
            raise SonoforgeError(f"{where}: found the folder {name!r}, expected such as Mass-Training_P_00001_LEFT_CC")
    return Region(
        patient=cell["patient_id"],
        side=cell["left or right breast"],
        view=cell["image view"],
        kind=kind,
        split=split,
        pathology=cell["pathology"],
        density=cell.get("breast_density") or cell.get("breast density") or "",  # the two kinds of table differ
        film_folder=folders[0],
        folder=folders[1],
    )


def find_pictures(folder: Path) -> Folders:
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
    """List the pictures of a download with its tables; missing ones are left out, with a message, when they are read.

    Kinds, pathologies and splits choose abnormalities; with several of them, all must fit.

    ``full``: each film with a chosen abnormality, square around its breast or squeezed to a square; a film with a mass
    and calcifications is listed in two tables but comes once, of the class of its worst abnormality.  Masks and the
    columns of groups.csv are of the chosen ones.  A film whose chosen abnormalities are benign and another one
    malignant belongs to neither class, and is left out.  ``roi``: a square around each chosen abnormality's mask, cut
    from the film rather than taken from the published cuts, whose surroundings vary.

    Raises:
        SonoforgeError: A table is missing or cannot be read, no abnormality is chosen, or regions are to be squeezed.
    """
    if settings.mode == "roi" and settings.framing == "film":
        raise SonoforgeError("--framing: found film with --mode roi, expected --mode full; leave it out")
    listed = [region for table in find_tables(folder) for region in read_regions(table)]
    regions = [region for region in listed if _is_chosen(region, settings)]
    if not regions:
        raise SonoforgeError(
            f"{folder}: found none of the {len(listed)} abnormalities in the tables to fit --kinds, --pathologies and "
            "--splits; leave one out"
        )
    pictures = find_pictures(folder)
    if settings.mode == "roi":
        return [
            PlannedPicture(
                f"{region.class_name}/{region.folder}.png",
                region.patient,
                _facts([region]),
                functools.partial(_read_region, pictures, region, settings),
            )
            for region in {region.folder: region for region in regions}.values()
        ]
    films: dict[tuple[str, str, str], list[Region]] = defaultdict(list)
    for region in regions:
        films[region.patient, region.side, region.view].append(region)
    classes: dict[tuple[str, str, str], str] = {}
    for region in listed:
        view = region.patient, region.side, region.view
        classes[view] = max(classes.get(view, ""), region.class_name)  # `malignant` comes after `benign`
    return [
        PlannedPicture(
            f"{classes[view]}/{marked[0].film_folder}.png",
            marked[0].patient,
            _facts(marked),
            functools.partial(_read_full, pictures, marked, settings),
        )
        for view, marked in films.items()
        if classes[view] in {region.class_name for region in marked}
    ]


def _is_chosen(region: Region, settings: ImportSettings) -> bool:
    return (
        (not settings.kinds or region.kind in settings.kinds)
        and (not settings.pathologies or region.pathology in [PATHOLOGIES[name] for name in settings.pathologies])
        and (not settings.splits or region.split in settings.splits)
    )


def _facts(regions: Sequence[Region]) -> dict[str, str]:
    """Columns of groups.csv; the values of several abnormalities are joined by ``+``."""
    columns = ("split", "kind", "pathology", "side", "view", "density")
    return {column: "+".join(sorted({getattr(region, column) for region in regions})) for column in columns}


def _read_full(pictures: Folders, regions: Sequence[Region], settings: ImportSettings) -> Picture:
    names = list(dict.fromkeys(region.film_folder for region in regions))
    name = next((name for name in names if pictures.get(name)), names[0])
    if settings.framing == "film":
        return _read_whole(pictures, name, regions if settings.masks else (), settings.longest)
    film, breast = _read_film(pictures, name)
    box, square = frame_breast(breast, film.shape)
    pixels = pad_to(square, box, apply_window(box.cut(film), grey_window(film, breast)))
    marked = regions if settings.masks else ()
    masks = [square.cut(_read_mask(pictures, region.folder, film.shape)) for region in marked]
    return square_picture(pixels, masks, settings.longest)


def _read_whole(pictures: Folders, name: str, marked: Sequence[Region], side: int) -> Picture:
    """Resize the whole film; its grey levels, from the lowest to the highest, become 0 to 255.

    The labels at its side stay in.  Of which levels became black and white, papers that resized films say nothing.
    """
    film = _read_levels(pictures, name)
    low, high = float(film.min()), float(film.max())
    if not low < high:
        raise SonoforgeError(f"{name}: found {low:g} as the only grey level, expected a mammogram; leave it out")
    masks = [_read_mask(pictures, region.folder, film.shape) for region in marked]
    return squeezed_picture(apply_window(film, (low, high)), masks, side)


def _read_region(pictures: Folders, region: Region, settings: ImportSettings) -> Picture:
    film, breast = _read_film(pictures, region.film_folder)
    mask = _read_mask(pictures, region.folder, film.shape)
    square = lesion_square(mask, settings.margin)
    pixels = apply_window(square.cut(film), grey_window(film, breast))  # black beyond a film smaller than the square
    return square_picture(pixels, [square.cut(mask)] if settings.masks else [], settings.longest)


def _read_film(pictures: Folders, name: str) -> tuple[Film, NDArray[np.bool_]]:
    film = _read_levels(pictures, name)
    breast = find_breast(film)
    if not breast.any():
        raise SonoforgeError(f"{name}: found no breast, expected a mammogram; leave it out")
    return film, breast


def _read_levels(pictures: Folders, name: str) -> Film:
    files = pictures.get(name, ())
    if len(files) != 1:
        raise SonoforgeError(f"{name}: found {len(files)} DICOM files in folders of this name, expected the film alone")
    return read_dicom(files[0])


def _read_mask(pictures: Folders, name: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Find the mask among the files of an abnormality by its content."""
    files = pictures.get(name, ())
    decoded = [read_dicom(file) for file in files]
    masks = [pixels for pixels in decoded if _has_two_levels(pixels)]
    fitting = [mask for mask in masks if mask.shape == shape]
    if len(fitting) == 1:
        inside: NDArray[np.bool_] = fitting[0] > fitting[0].min()
        return inside
    if len(masks) == 1:
        size = "x".join(map(str, masks[0].shape[::-1]))
        expected = "x".join(map(str, shape[::-1]))
        raise SonoforgeError(f"{name}: found a mask of {size} pixels, expected {expected} as its film; leave it out")
    raise SonoforgeError(
        f"{name}: found {len(masks)} masks among {len(files)} DICOM files, expected one; download its folder again"
    )


def read_dicom(path: Path) -> NDArray[Any]:
    """Decode the stored levels of a single grey frame.

    ``MONOCHROME1`` (the lowest level is white) is inverted within the range of the stored bits, so that every picture
    is bright on dark (DICOM PS3.3, C.7.6.3.1.2).  Windows that the file suggests are not applied.

    Returns:
        (H, W) of the file's own integer type.

    Raises:
        SonoforgeError: pydicom is not installed, or the file is no grey picture, is damaged, or is compressed in a
            way that needs a further decoder.
    """
    image = open_dicom(path)
    if image.photometric not in ("MONOCHROME1", "MONOCHROME2") or image.frame_count != 1:
        raise SonoforgeError(
            f"{path}: found {image.frame_count} {image.photometric} frames, expected one grey frame; leave it out"
        )
    (pixels,) = image.stored_frames()
    if image.photometric == "MONOCHROME1":
        # The stored levels run from lowest to highest; their sum minus a level swaps the ends, in its own type.
        lowest, highest = image.stored_range
        pixels = (lowest + highest - pixels.astype(np.int64)).astype(pixels.dtype)
    return pixels


def _has_two_levels(pixels: NDArray[Any]) -> bool:
    low, high = pixels.min(), pixels.max()
    return bool(low < high and ((pixels == low) | (pixels == high)).all())


COLLECTION = Collection(
    "cbis-ddsm",
    "abnormality on a film",
    ("mode", "masks", "margin", "longest", "framing", "kinds", "pathologies", "splits"),
    find_tables,
    plan,
)

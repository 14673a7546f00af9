"""CBIS-DDSM: digitised films of the DDSM with proven pathology, as distributed by The Cancer Imaging Archive.

Lee et al., "A curated mammography data set for use in computer-aided detection and diagnosis research", Scientific
Data 4 (2017) 170177.  Four tables, ``{mass,calc}_case_description_{train,test}_set.csv``, have one line for each
abnormality on each film.  The pictures lie in folders of their own::

    Mass-Training_P_00001_LEFT_CC/.../*.dcm       the film, 16 bits
    Mass-Training_P_00001_LEFT_CC_1/.../*.dcm     its abnormality 1: a cut from the film, and the mask

The folders in between depend on the settings of the NBIA Data Retriever (dates and descriptions, or UIDs), and do not
always agree with the tables' paths; only their first part, the folder's name, is used.  The tables also swap the paths
of cut and mask for some abnormalities, so the mask is recognised by its content: two levels, as large as the film.
The tables' patient_id is the woman; the PatientID inside the DICOM files is the folder's name, one for each view.
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

from sonoforge.runtime.csv_tables import read_table
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.dicom.reader import open_dicom
from sonoforge.training.data.collections.import_settings import ImportSettings
from sonoforge.training.data.collections.importing import Picture, PlannedPicture, Reader
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

# The tables' words for the values of `ImportSettings.pathologies`.
_PATHOLOGIES = {"malignant": "MALIGNANT", "benign": "BENIGN", "benign-without-callback": "BENIGN_WITHOUT_CALLBACK"}

Folders = Mapping[str, Sequence[Path]]  # name of a case folder -> the DICOM files below it


class Region(NamedTuple):
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
            f"{folder}: mass_case_description_train_set.csv and the like are missing; download the four tables from "
            "the collection's page into this folder"
        )
    return [tables[name] for name in sorted(tables, key=lambda name: ("calc" in name.lower(), "test" in name.lower()))]


def read_regions(table: Path) -> list[Region]:
    """Read one table.

    Raises:
        SonoforgeError: It cannot be read, lacks a column, or has an unknown pathology or a malformed folder name.
    """
    named = _TABLE.fullmatch(table.name)
    assert named is not None  # noqa: S101 - as `find_tables` found it
    regions = []
    for row in read_table(table, _COLUMNS, "download it again").rows:
        where, pathology = f"{table}: line {row.line}", row["pathology"]
        if pathology not in _CLASS:
            raise SonoforgeError(f"{where}: the pathology {pathology!r} is none of {', '.join(_CLASS)}")
        folders = [re.split(r"[/\\]", row[column])[0] for column in ("image file path", "roi mask file path")]
        for name in folders:
            if not _CASE_FOLDER.fullmatch(name):
                raise SonoforgeError(f"{where}: {name!r} is not a folder such as Mass-Training_P_00001_LEFT_CC")
        regions.append(
            Region(
                patient=row["patient_id"],
                side=row["left or right breast"],
                view=row["image view"],
                kind=_KINDS[named["kind"].lower()],
                split=named["split"].lower(),
                pathology=pathology,
                density=row.get("breast_density") or row.get("breast density") or "",  # the kinds of table differ
                film_folder=folders[0],
                folder=folders[1],
            )
        )
    return regions


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
    """List the pictures of a download with its tables; missing ones are left out with a message when they are read.

    Abnormalities are chosen by kinds, pathologies and splits, which must all fit.

    ``full``: each film with a chosen abnormality, square around its breast or squeezed to a square.  A film with a mass
    and calcifications is listed in two tables but written once, in the class of its worst abnormality; masks and the
    columns of groups.csv describe the chosen ones.  A film whose chosen abnormalities are benign while another is
    malignant belongs to neither class, and is left out.  ``roi``: a square around each chosen abnormality's mask, cut
    from the film rather than taken from the published cuts, whose surroundings vary.

    Raises:
        SonoforgeError: A table is missing or cannot be read, no abnormality is chosen, or regions are to be squeezed.
    """
    if settings.mode == "roi" and settings.framing == "film":
        raise SonoforgeError("framing: film cannot be combined with --mode roi")
    listed = [region for table in find_tables(folder) for region in read_regions(table)]
    regions = [region for region in listed if _is_chosen(region, settings)]
    if not regions:
        raise SonoforgeError(
            f"{folder}: none of the {len(listed)} abnormalities in the tables fits kinds, pathologies and splits "
            "together; leave one out"
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
        and (not settings.pathologies or region.pathology in [_PATHOLOGIES[name] for name in settings.pathologies])
        and (not settings.splits or region.split in settings.splits)
    )


def _facts(regions: Sequence[Region]) -> dict[str, str]:
    """Return the columns of groups.csv; values of several abnormalities are joined by ``+``."""
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
    """Resize the whole film with the labels at its side; its lowest to highest grey level become 0 to 255.

    Papers that resized films do not say which levels they mapped to black and white.
    """
    film = _read_levels(pictures, name)
    low, high = float(film.min()), float(film.max())
    if not low < high:
        raise SonoforgeError(f"{name}: has the single grey level {low:g}, so it is not a mammogram; leave it out")
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
        raise SonoforgeError(f"{name}: shows no breast, so it is not a mammogram; leave it out")
    return film, breast


def _read_levels(pictures: Folders, name: str) -> Film:
    files = pictures.get(name, ())
    if len(files) != 1:
        raise SonoforgeError(f"{name}: folders of this name hold {len(files)} DICOM files instead of one film")
    return read_dicom(files[0])


def _read_mask(pictures: Folders, name: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Find the mask among the files of an abnormality by its content: it has two levels."""
    files = pictures.get(name, ())
    decoded = [read_dicom(file) for file in files]
    extremes = [(pixels, pixels.min(), pixels.max()) for pixels in decoded]
    masks = [own for own, low, high in extremes if low < high and ((own == low) | (own == high)).all()]
    fitting = [mask for mask in masks if mask.shape == shape]
    if len(fitting) == 1:
        inside: NDArray[np.bool_] = fitting[0] > fitting[0].min()
        return inside
    if len(masks) == 1:
        size = "x".join(map(str, masks[0].shape[::-1]))
        expected = "x".join(map(str, shape[::-1]))
        raise SonoforgeError(f"{name}: its mask has {size} pixels, but its film {expected}; leave it out")
    raise SonoforgeError(
        f"{name}: {len(masks)} of its {len(files)} DICOM files are masks instead of one; download its folder again"
    )


def read_dicom(path: Path) -> NDArray[Any]:
    """Decode the stored levels of a single grey frame.

    ``MONOCHROME1`` (the lowest level is white) is inverted within the range of the stored bits, so that every picture
    is bright on dark (DICOM PS3.3, C.7.6.3.1.2).  Windows suggested in the file are not applied.

    Returns:
        (H, W) of the file's own integer type.

    Raises:
        SonoforgeError: pydicom is not installed, or the file is not a grey picture, is damaged, or is compressed in
            a way that needs another decoder.
    """
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


READER = Reader(
    holds="abnormality on a film",
    takes=("mode", "masks", "margin", "longest", "framing", "kinds", "pathologies", "splits"),
    plan=plan,
    find_tables=find_tables,
)

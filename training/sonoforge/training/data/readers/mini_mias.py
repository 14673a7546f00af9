"""The mini-MIAS set: 322 films of 161 women, and one text file that says what each shows.

Suckling et al., "The Mammographic Image Analysis Society digital mammogram database", Excerpta Medica ICS 1069
(1994) 375-378.  ``Info.txt`` of the archive has one line for each abnormality::

    mdb001 G CIRC B 535 425 197        film, tissue, abnormality, severity, x, y, radius
    mdb003 D NORM                      nothing found

x, y and the radius are pixels of a film of 1024 pixels a side, counted from the *bottom* left corner (note 3 there);
four films have widespread calcifications or no position.  Films 2k - 1 and 2k are the two breasts of one woman.
"""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.plain_image import grey_levels
from sonoforge.training.data.collections.import_settings import ImportSettings
from sonoforge.training.data.collections.importing import Picture, PlannedPicture, Reader
from sonoforge.training.data.collections.mammogram import (
    find_breast,
    frame_breast,
    lesion_square,
    pad_to,
    square_picture,
)

_TABLES = ("Info.txt", "info.txt", "labels.txt")
_FILM_SIDE = 1024  # pixels; the unit of the coordinates
_SUFFIXES = (".pgm", ".png")
_LINE = re.compile(
    r"(?P<film>mdb\d{3}) (?P<tissue>[FGD]) (?:NORM|(?P<kind>CALC|CIRC|SPIC|MISC|ARCH|ASYM) (?P<severity>[BM])"
    r"(?: (?P<x>\d+) (?P<y>\d+) (?P<radius>\d+))?(?: \*NOTE 3\*)?)"
)


class Abnormality(NamedTuple):
    """One abnormality marked on a film."""

    kind: str  # `CALC`, `CIRC`, `SPIC`, `MISC`, `ARCH` or `ASYM`
    severity: str  # `malignant` or `benign`
    circle: tuple[int, int, int] | None  # x, y, radius as published, or None where not given


class MiasFilm(NamedTuple):
    """One film."""

    name: str  # `mdb001`
    tissue: str  # `F` fatty, `G` fatty-glandular, `D` dense-glandular
    abnormalities: tuple[Abnormality, ...]  # in the order of the table; none for a normal film

    @property
    def patient(self) -> str:
        """Name of the woman: each consecutive pair of films is of one."""
        return f"mias-{(int(self.name[3:]) + 1) // 2:03d}"


def find_tables(folder: Path) -> list[Path]:
    """Return the one table of the set.

    Raises:
        SonoforgeError: The folder has none.
    """
    for name in _TABLES:
        if (folder / name).is_file():
            return [folder / name]
    raise SonoforgeError(
        f"{folder}: {_TABLES[0]} of the unpacked mini-MIAS archive is missing; see sonoforge data list"
    )


def read_films(table: Path) -> list[MiasFilm]:
    """Read what each film shows, in the order of their names.

    Raises:
        SonoforgeError: The file cannot be read, or a line about a film is malformed.
    """
    try:
        lines = table.read_text(encoding="latin-1").splitlines()
    except OSError as error:
        raise SonoforgeError(f"{table}: cannot be read ({error.strerror or error})") from error
    tissue: dict[str, str] = {}
    found: dict[str, list[Abnormality]] = {}
    for number, line in enumerate(lines, start=1):
        text = " ".join(line.split())
        if not re.match(r"mdb\d", text):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise SonoforgeError(
                f"{table}: line {number}: {text!r} is not FILM TISSUE ABNORMALITY SEVERITY X Y RADIUS; obtain the file "
                "again"
            )
        tissue[match["film"]] = match["tissue"]
        abnormalities = found.setdefault(match["film"], [])
        if match["kind"]:
            circle = (int(match["x"]), int(match["y"]), int(match["radius"])) if match["x"] else None
            severity = "malignant" if match["severity"] == "M" else "benign"
            abnormalities.append(Abnormality(match["kind"], severity, circle))
    if not found:
        raise SonoforgeError(f"{table}: has no line about a film, such as `mdb003 D NORM`")
    return [MiasFilm(name, tissue[name], tuple(found[name])) for name in sorted(found)]


def plan(folder: Path, settings: ImportSettings) -> list[PlannedPicture]:
    """List the pictures of the unpacked archive.

    ``full``: each film, square around its breast, of the class of its worst abnormality.  ``roi``: a square around
    each abnormality with a known position; there are no normal ones.  Masks are the published circles, and grey levels
    the published 8 bits.

    Raises:
        SonoforgeError: The table is missing or cannot be read.
    """
    planned: list[PlannedPicture] = []
    for film in read_films(find_tables(folder)[0]):
        files = [folder / f"{film.name}{suffix}" for suffix in _SUFFIXES]
        source = next((file for file in files if file.is_file()), files[0])
        if settings.mode == "full":
            severities = {"normal", *(own.severity for own in film.abnormalities)}
            worst = next(name for name in ("malignant", "benign", "normal") if name in severities)
            kinds = "+".join(sorted({own.kind for own in film.abnormalities})) or "NORM"
            read = functools.partial(_read_film, source, film.abnormalities, settings)
            pictures = [(f"{worst}/{film.name}.png", kinds, read)]
        else:
            pictures = [
                (
                    f"{own.severity}/{film.name}_{index}.png",
                    own.kind,
                    functools.partial(_read_region, source, own, settings),
                )
                for index, own in enumerate(film.abnormalities, start=1)
            ]
        for name, kinds, read in pictures:
            planned.append(PlannedPicture(name, film.patient, {"abnormality": kinds, "tissue": film.tissue}, read))
    return planned


def _read_film(path: Path, abnormalities: Sequence[Abnormality], settings: ImportSettings) -> Picture:
    film = grey_levels(read_image(path))
    breast = find_breast(film)
    if not breast.any():
        raise SonoforgeError(f"{path}: shows no breast, so it is not a mammogram; leave it out")
    box, square = frame_breast(breast, film.shape)
    marked = abnormalities if settings.masks else ()
    circles = [square.cut(draw_circle(path, abnormality, film.shape)) for abnormality in marked]
    return square_picture(pad_to(square, box, box.cut(film)), circles, settings.longest)


def _read_region(path: Path, abnormality: Abnormality, settings: ImportSettings) -> Picture:
    film = grey_levels(read_image(path))
    circle = draw_circle(path, abnormality, film.shape)
    square = lesion_square(circle, settings.margin)
    return square_picture(square.cut(film), [square.cut(circle)] if settings.masks else [], settings.longest)


def draw_circle(path: Path, abnormality: Abnormality, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Draw the circle around an abnormality on a film of any side: (H, W) bool.

    Raises:
        SonoforgeError: No position is given, or it lies outside the film.
    """
    if abnormality.circle is None:
        raise SonoforgeError(
            f"{path}: the table gives no position for its {abnormality.kind} ({abnormality.severity}); full films "
            "without masks need none"
        )
    x, y, radius = abnormality.circle
    down, across = shape[0] / _FILM_SIDE, shape[1] / _FILM_SIDE
    rows, columns = np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5
    # y grows upwards in the table, downwards in the picture.
    distance = ((rows / down - (_FILM_SIDE - y)) ** 2)[:, None] + (columns / across - x) ** 2
    circle: NDArray[np.bool_] = distance <= radius**2
    if not circle.any():
        raise SonoforgeError(f"{path}: the circle at {x},{y} of radius {radius} lies outside the film; see the table")
    return circle


READER = Reader("abnormality with a position", ("mode", "masks", "margin", "longest"), plan, find_tables)

"""Turn a published set into an ordinary folder of classes, once: pictures, masks, groups and their origin.

``groups.csv`` lists every picture of the set before the first is written, so that `datasets.read_dataset` refuses an
incomplete folder, which can then be resumed.  The public sets that ``data list`` shows are rows of ``known_sets.csv``.
"""

import csv
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.atomic import plain, safe_name, write_bytes, write_json, write_text
from sonoforge.runtime.cli.options import option
from sonoforge.runtime.csv_tables import csv_text, defused
from sonoforge.runtime.errors import SonoforgeError, did_you_mean, refusing
from sonoforge.runtime.images.plain_image import encoded
from sonoforge.training.progress import in_threads
from sonoforge.training.statistics.results import Record

log = logging.getLogger(__name__)

NOTE = "import.json"
_MOST_MESSAGES = 20  # about pictures that are left out
_WORKERS = 4  # at most: processing a film of 25 million pixels takes some 500 MB


@dataclass(frozen=True)
class ImportSettings:
    """Options of an import; each set takes some of them, see `Reader.takes`."""

    mode: str = option("full", help="full: whole images; roi: each object", choices=("full", "roi"))
    multilabel: bool = option(
        False,
        help="coco, yolo: an image may have several classes\n"
        "each class is a separate question, with a column in groups.csv: --data OUT:CLASS",
    )
    masks: bool = option(False, help="also write NAME_mask.png\nimages without a readable mask are left out")
    margin: float = option(1.5, help="side of a region, relative to the abnormality's", limits=(1, 10))
    longest: int = option(1024, help="largest side in pixels", limits=(64, 7000))
    kinds: tuple[str, ...] = option(
        (), help="cbis-ddsm: kinds of lesion (default: both)", choices=("mass", "calcification"), metavar="KIND,..."
    )
    pathologies: tuple[str, ...] = option(
        (),
        help="cbis-ddsm: pathologies (default: all)\n"
        "training needs two classes in the folder; gan train picks one by --class",
        choices=("malignant", "benign", "benign-without-callback"),
        metavar="NAME,...",
    )
    splits: tuple[str, ...] = option(
        (),
        help="acdc, cbis-ddsm, idrid: parts as split by the authors (default: both)",
        choices=("train", "test"),
        metavar="NAME,...",
    )
    window: tuple[float, ...] = option(
        (),
        help="frames, sliver07: values, such as Hounsfield units, to show as black and white (default: -160,240 for "
        "sliver07, else the 0.5th and 99.5th percentiles)",
        metavar="LOW,HIGH",
    )


class Picture(NamedTuple):
    """One picture as it is written."""

    pixels: NDArray[np.uint8]  # (H, W) uint8, grey, or (H, W, 3) in colour
    masks: tuple[NDArray[np.bool_], ...] = ()  # (H, W) bool each
    structures: Mapping[str, NDArray[np.bool_]] = {}  # (H, W) bool for each named structure
    remarks: tuple[str, ...] = ()  # on the file that it is from, shown once


@dataclass(frozen=True)
class PlannedPicture:
    """A picture of the set, not decoded yet."""

    path: str  # relative to the folder that is written: `<class>/<name>.png`
    group: str  # the patient
    facts: Mapping[str, str]  # further columns of groups.csv
    read: Callable[[], Picture]  # decodes it; raises SonoforgeError where it cannot be read


class Reader(NamedTuple):
    """Reads a published set, or another kind of folder."""

    holds: str  # what such a folder contains, for error messages
    takes: tuple[str, ...]  # names of the `ImportSettings` that apply
    plan: Callable[[Path, ImportSettings], list[PlannedPicture]]  # lists the pictures
    # Returns the files that describe the set, whose hashes are kept in import.json.
    find_tables: Callable[[Path], list[Path]] = lambda folder: []
    signs: tuple[str, ...] = ()  # glob patterns of files that mark such a folder: reading it directly is refused

    def check(self, name: str, settings: ImportSettings) -> None:
        """Refuse changed settings that do not apply; ``name`` is the reader's name."""
        for own in fields(settings):
            if own.name not in self.takes and getattr(settings, own.name) != own.default:
                raise SonoforgeError(f"{own.name}: does not apply to {name}, which takes {', '.join(self.takes)}")


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Return a name for each file's picture: its stem if unique, otherwise its whole path."""
    stems = {path: PurePosixPath(path.removesuffix(".gz")).stem for path in paths}
    counts = Counter(stem.casefold() for stem in stems.values())
    return {
        path: stem if counts[stem.casefold()] == 1 else path.replace("/", "_").replace(".", "_")
        for path, stem in stems.items()
    }


def write_set(
    root: Path, planned: Sequence[PlannedPicture], provenance: Mapping[str, Any], *, resume: bool = False
) -> Record:
    """Write the pictures of a set that do not exist yet, then ``groups.csv`` and ``import.json``.

    The folder is new or empty or, with ``resume``, holds an incomplete import with the same provenance: what was
    imported and with which settings.

    Returns:
        ``images``, the number of pictures of each class, and ``left_out``, a message for each left out, by path.
    """
    planned = [
        replace(own, path=re.sub(r"[^/]+(?=\.png$)", lambda stem: safe_name(stem[0]), own.path)) for own in planned
    ]
    provenance = plain(provenance)
    _claim(root, provenance, resume=resume)
    write_text(root / "groups.csv", _table(planned))
    left_out: dict[str, str] = {}
    remarks: dict[str, None] = {}  # in order

    def write(picture: PlannedPicture) -> None:
        target = root / picture.path
        if target.is_file():
            return
        try:
            pixels, masks, structures, said = picture.read()
        except SonoforgeError as error:
            left_out[picture.path] = str(error)
            return
        remarks.update(dict.fromkeys(said))
        numbers = [""] if len(masks) == 1 else [f"_{number}" for number in range(1, len(masks) + 1)]
        named = {f"{target.stem}_mask{number}.png": mask for number, mask in zip(numbers, masks, strict=True)}
        named |= {f"{target.stem}_mask_{name}.png": mask for name, mask in structures.items()}
        for name, mask in named.items():
            drawn = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
            write_bytes(target.with_name(name), encoded(drawn))
        write_bytes(target, encoded(Image.fromarray(pixels)))  # last: a picture that exists has its masks

    in_threads(write, planned, "importing", min(_WORKERS, os.cpu_count() or 1))
    left_out = dict(sorted(left_out.items()))
    written = [picture for picture in planned if picture.path not in left_out]
    if not written:
        first = next(iter(left_out.values()), "the set's tables name none")
        raise SonoforgeError(f"{root}: none of {len(planned)} pictures could be written; the first: {first}")
    write_text(root / "groups.csv", _table(written))
    counts = dict(sorted(Counter(picture.path.split("/")[0] for picture in written).items()))
    state = {"complete": True, "images": counts, "patients": len({picture.group for picture in written})}
    write_json(root / NOTE, {**provenance, **state, "left_out": left_out})
    if left_out:
        log.warning("%d of %d pictures are left out (listed in %s)", len(left_out), len(planned), root / NOTE)
    for messages in (dict.fromkeys(left_out.values()), remarks):
        for message in list(messages)[:_MOST_MESSAGES]:
            log.warning("%s", message)
    return {"images": counts, "left_out": left_out}


def _claim(root: Path, provenance: Mapping[str, Any], *, resume: bool) -> None:
    """Make sure that the folder is new, or holds this very import."""
    with refusing(f"{root / NOTE}: cannot be read", "import to a new folder"):
        if not root.exists() or (root.is_dir() and not any(root.iterdir())):
            write_json(root / NOTE, {**provenance, "complete": False})
            return
        note = json.loads((root / NOTE).read_bytes()) if (root / NOTE).is_file() else None
    if not isinstance(note, dict):
        raise SonoforgeError(f"{root}: is not empty; choose a new or empty folder")
    different = [key for key, value in provenance.items() if note.get(key) != value]
    if different:
        raise SonoforgeError(
            f"{root}: holds an import with another {', '.join(different)}; import to a new folder, or delete this one"
        )
    if not resume:
        done = "complete" if note.get("complete") else "incomplete"
        raise SonoforgeError(f"{root}: already holds this import ({done}); write what is missing with --resume")


def _table(pictures: Sequence[PlannedPicture]) -> str:
    rows = (map(defused, (picture.path, picture.group, *picture.facts.values())) for picture in pictures)
    return csv_text([("file", "group", *map(defused, pictures[0].facts if pictures else ())), *rows])


class KnownSet(NamedTuple):
    """One public data set: a row of ``known_sets.csv``. Nothing is downloaded, as users must accept its terms."""

    name: str  # short name in common use
    content: str  # modality, task and size
    obtain: str  # where and how its owner distributes it
    licence: str  # terms as stated by the owner; "not stated" where none could be found
    citation: str  # what to cite
    reader: str  # how `sonoforge` reads it: `as published`, or what to rearrange first


with Path(__file__).with_name("known_sets.csv").open(encoding="utf-8", newline="") as _rows:
    KNOWN_SETS = tuple(KnownSet(**row) for row in csv.DictReader(_rows))


def find_sets(name: str = "") -> list[KnownSet]:
    """Return the public sets of this name, in any case, or all; refuse a name that none has."""
    found = [known for known in KNOWN_SETS if name.casefold() in ("", known.name.casefold())]
    if not found:
        names = [known.name for known in KNOWN_SETS]
        raise SonoforgeError(f"--name: no set {name!r}; give one of {', '.join(names)}{did_you_mean(name, names)}")
    return found

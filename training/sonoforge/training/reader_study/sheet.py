"""The sealed key of a reading sheet: which image is which, bound by its SHA-256 to the page that readers see.

The page shows the hash before anybody answers, and every file of answers repeats it.  So a key that is changed
afterwards, even in one entry, no longer fits.  A random number in the key keeps it from being guessed: without it, all
orders of a small sheet could be tried until one has the hash.
"""

import dataclasses
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.synthetic import as_picture
from sonoforge.training.data.pixels import Pixels
from sonoforge.training.evaluation.image_set import ImageSet

KEY = "key.json"
KINDS = ("real", "generated")
_FORMAT = "sonoforge reading key 1"


@dataclass(frozen=True)
class Entry:
    """One image of the sheet."""

    number: int  # on the page, from 1
    kind: str  # one of `KINDS`
    class_name: str  # what it shows; empty where that is unknown
    source: str  # the set that it was taken from, as the user named it
    file: str  # in that set
    content: str  # `fingerprints.content_hash` of the original
    picture: str  # sha256 of the PNG file on the page


@dataclass(frozen=True)
class Key:
    """The whole key."""

    nonce: str  # 32 random bytes as hex digits
    classes: tuple[str, ...]  # answers of the second question; empty where it is not asked
    side: int  # of each image, pixels
    entries: tuple[Entry, ...]  # in the order of the page

    def encoded(self) -> bytes:
        """Return the content of the key's file."""
        return (json.dumps({"format": _FORMAT, **asdict(self)}, indent=2, ensure_ascii=False) + "\n").encode()


def commitment(content: bytes) -> str:
    """Return what the page shows of a key's file: its SHA-256, as ``sha256sum key.json`` prints it."""
    return hashlib.sha256(content).hexdigest()


def read_key(path: Path) -> tuple[Key, str]:
    """Read a key and the commitment of its file.

    Raises:
        SonoforgeError: It is missing or damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SonoforgeError(
            f"{path}: cannot be read ({error.strerror}); expected the key that sonoforge evaluate --reading-sheet wrote"
        ) from error
    try:
        key = _parsed(json.loads(content))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SonoforgeError(
            f"{path}: found no key of a reading sheet ({error}), expected the file as it was written; restore it"
        ) from error
    return key, commitment(content)


def _parsed(values: dict[str, Any]) -> Key:
    if values.pop("format") != _FORMAT:
        raise ValueError(f"its format is not {_FORMAT!r}")
    entries = tuple(Entry(**entry) for entry in values.pop("entries"))
    if [entry.number for entry in entries] != list(range(1, len(entries) + 1)):
        raise ValueError("its images are not numbered 1, 2, 3, ...")
    unknown = [entry.kind for entry in entries if entry.kind not in KINDS]
    if unknown:
        raise ValueError(f"an image is called {unknown[0]!r}")
    return Key(**{**values, "classes": tuple(values["classes"])}, entries=entries)


MOST_BYTES = 60_000_000
"""Of all pictures of a sheet; as text the page is a third larger, and a phone must hold it."""


class Pair(NamedTuple):
    """Real and generated images of one class, at one size."""

    real: ImageSet
    fake: ImageSet


class Sheet(NamedTuple):
    """What the page shows, and what it hides."""

    pictures: list[bytes]  # PNG files in the order of the page
    key: Key


def make_sheet(pairs: Sequence[Pair], count: int, classes: tuple[str, ...], nonce: bytes) -> Sheet:
    """Take ``count`` real and as many generated images of each pair, and shuffle them.

    Of the real images at most one of each near-duplicate group is taken: who sees a scan twice knows that it is real.

    Args:
        pairs: All of one size.
        count: Images of each kind and pair.
        classes: Answers of the second question; empty to ask the first alone.
        nonce: Random bytes, from which the choice and the order follow; to be kept in the key alone.

    Raises:
        SonoforgeError: Too few images, too much data, or images of different sizes or of a class that is no answer.
    """
    _check_alike(pairs, count, classes)
    rng = np.random.default_rng(int.from_bytes(nonce, "big"))
    drawn: list[tuple[Entry, bytes]] = []
    for real, fake in pairs:
        groups = np.unique(real.groups)
        _check_enough(real.source, len(groups), "groups of near-duplicates", count)
        _check_enough(fake.source, len(fake), "generated images", count)
        chosen = rng.choice(groups, count, replace=False)
        reals = np.array([rng.choice(np.flatnonzero(real.groups == group)) for group in chosen])
        shown = fake.class_name or real.class_name
        drawn += _entries(real, reals, "real", real.class_name or shown)
        drawn += _entries(fake, rng.choice(len(fake), count, replace=False), "generated", shown)
    order = [drawn[index] for index in rng.permutation(len(drawn))]
    entries = tuple(dataclasses.replace(entry, number=place) for place, (entry, _) in enumerate(order, start=1))
    side = int(pairs[0].real.pixels.shape[1])
    return Sheet([picture for _, picture in order], Key(nonce.hex(), classes, side, entries))


def encode(pixels: Pixels) -> bytes:
    """Return (S, S, C) uint8 as a PNG file whose length depends on S and C alone."""
    stream = io.BytesIO()
    as_picture(pixels).save(stream, "PNG", compress_level=0)
    return stream.getvalue()


def picture_hash(pixels: Pixels) -> str:
    """Return the sha256 of an image's file on the page, as the key has it."""
    return hashlib.sha256(encode(pixels)).hexdigest()


def _entries(images: ImageSet, indices: NDArray[np.intp], kind: str, shown: str) -> list[tuple[Entry, bytes]]:
    found = []
    for index in indices.tolist():
        described, pixels = images.described[index], images.pixels[index]
        entry = Entry(0, kind, shown, images.source, described.name, described.content, picture_hash(pixels))
        found.append((entry, encode(pixels)))
    return found


def _check_alike(pairs: Sequence[Pair], count: int, classes: tuple[str, ...]) -> None:
    shapes = {pair.fake.source: pair.fake.pixels.shape[1:] for pair in pairs}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{source} {'x'.join(map(str, shape))}" for source, shape in shapes.items())
        raise SonoforgeError(
            f"--reading-sheet: found images of different sizes ({found}); give one with --image-size, --channels 1"
        )
    total = 2 * count * len(pairs) * int(np.prod(next(iter(shapes.values()))))
    if total > MOST_BYTES:
        raise SonoforgeError(
            f"--reading-sheet: found {total / 1e6:.0f} MB of pixels, expected at most {MOST_BYTES / 1e6:.0f} in one "
            "page; take fewer images, or a smaller --image-size"
        )
    for pair in pairs:
        shown = pair.fake.class_name or pair.real.class_name
        if classes and shown not in classes:
            raise SonoforgeError(
                f"--reading-classes: found {', '.join(classes)}, but {pair.fake.source} shows "
                f"{shown or 'no class that it names'}; add it, or give --class"
            )


def _check_enough(source: str, found: int, what: str, count: int) -> None:
    if found < count:
        raise SonoforgeError(
            f"{source}: found {found} {what}, expected at least {count}; ask for at most --reading-sheet {found}"
        )

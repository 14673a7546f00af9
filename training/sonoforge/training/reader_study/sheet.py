"""Make a reading sheet: real and generated images, drawn at random and written alike, and the sealed key.

Readers should judge only by the pixels. All images therefore have one size, and each is a PNG file without compression
or text: files of equal length that differ only in their pixels. (With compression, a generated image that is smoother
than a scan would be the smaller file.)

The page shows the SHA-256 of the key's file, and every file of answers repeats it: a key that is changed afterwards no
longer fits.  A random number in the key prevents guessing it by trying all orders of a small sheet.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.runtime.images.plain_image import encoded
from sonoforge.runtime.images.synthetic import as_picture
from sonoforge.training.data.pixels import Pixels
from sonoforge.training.evaluation.image_set import ImageSet

KEY = "key.json"
KINDS = ("real", "generated")
_FORMAT = "sonoforge reading key 1"
MOST_BYTES = 60_000_000
"""Limit for all pictures of a sheet; as text the page is a third larger, and a phone must hold it."""


@dataclass(frozen=True)
class Entry:
    """One image of the sheet."""

    number: int  # on the page, from 1
    kind: str  # one of `KINDS`
    class_name: str  # what it shows; empty if unknown
    source: str  # the set that it was taken from, as the user named it
    file: str  # in that set
    content: str  # `fingerprints.content_hash` of the original
    picture: str  # SHA-256 of the PNG file on the page


@dataclass(frozen=True)
class Key:
    """The whole key."""

    nonce: str  # 32 random bytes as hex digits
    classes: tuple[str, ...]  # answers of the second question; empty if it is not asked
    side: int  # of each image, pixels
    entries: tuple[Entry, ...]  # in the order of the page

    def encoded(self) -> bytes:
        """Return the content of the key's file."""
        return (json.dumps({"format": _FORMAT, **asdict(self)}, indent=2, ensure_ascii=False) + "\n").encode()


def commitment(content: bytes) -> str:
    """Return the SHA-256 of a key's file, as ``sha256sum key.json`` prints it."""
    return hashlib.sha256(content).hexdigest()


def sources(key: Key) -> dict[str, list[str]]:
    """Return the sets that each kind of image was taken from."""
    return {kind: sorted({entry.source for entry in key.entries if entry.kind == kind}) for kind in KINDS}


def read_key(path: Path) -> tuple[Key, str]:
    """Read a key and the commitment of its file.

    Raises:
        SonoforgeError: It is missing or damaged.
    """
    with refusing(f"{path}: cannot be read", "give the key that sonoforge evaluate --reading-sheet wrote"):
        content = path.read_bytes()
    with refusing(f"{path}: not the key of a reading sheet", "restore the original file"):
        values = json.loads(content)
        if values.pop("format") != _FORMAT:
            raise ValueError(f"its format is not {_FORMAT!r}")
        entries = tuple(Entry(**entry) for entry in values.pop("entries"))
        if [entry.number for entry in entries] != list(range(1, len(entries) + 1)):
            raise ValueError("its images are not numbered 1, 2, 3, ...")
        unknown = [entry.kind for entry in entries if entry.kind not in KINDS]
        if unknown:
            raise ValueError(f"an image is called {unknown[0]!r}")
        key = Key(**{**values, "classes": tuple(values["classes"])}, entries=entries)
    return key, commitment(content)


class Pair(NamedTuple):
    """Real and generated images of one class, at one size."""

    real: ImageSet
    fake: ImageSet


class Sheet(NamedTuple):
    """What the page shows, and what it hides."""

    pictures: list[bytes]  # PNG files in the order of the page
    key: Key


def make_sheet(pairs: Sequence[Pair], count: int, classes: tuple[str, ...], nonce: bytes) -> Sheet:
    """Draw ``count`` real and equally many generated images of each pair, and shuffle them.

    At most one real image of each near-duplicate group is drawn: a scan seen twice would be known to be real.

    Args:
        pairs: Must all have one size.
        count: Number of images of each kind and pair.
        classes: Answers to the second question; empty to ask only the first.
        nonce: Random bytes that determine the choice and the order; only the key may keep them.

    Raises:
        SonoforgeError: There are too few images, too much data, images of different sizes, or a class that is not an
            answer.
    """
    _check_alike(pairs, count, classes)
    rng = np.random.default_rng(int.from_bytes(nonce, "big"))
    drawn: list[tuple[Entry, bytes]] = []
    for real, fake in pairs:
        groups = np.unique(real.groups)
        for images, found, what in ((real, len(groups), "groups of near-duplicates"), (fake, len(fake), "images")):
            if found < count:
                raise SonoforgeError(
                    f"{images.source}: only {found} {what}, fewer than {count}; ask for at most --reading-sheet {found}"
                )
        chosen = rng.choice(groups, count, replace=False)
        reals = [rng.choice(np.flatnonzero(real.groups == group)) for group in chosen]
        fakes = rng.choice(len(fake), count, replace=False)
        shown = fake.class_name or real.class_name
        for images, indices, kind in ((real, reals, "real"), (fake, fakes, "generated")):
            name = (kind == "real" and real.class_name) or shown
            for index in indices:
                about, picture = images.described[index], encode(images.pixels[index])
                digest = hashlib.sha256(picture).hexdigest()
                drawn.append((Entry(0, kind, name, images.source, about.name, about.content, digest), picture))
    order = [drawn[index] for index in rng.permutation(len(drawn))]
    entries = tuple(dataclasses.replace(entry, number=place) for place, (entry, _) in enumerate(order, start=1))
    side = int(pairs[0].real.pixels.shape[1])
    return Sheet([picture for _, picture in order], Key(nonce.hex(), classes, side, entries))


def encode(pixels: Pixels) -> bytes:
    """Return (S, S, C) uint8 as a PNG file; its length depends only on S and C."""
    return encoded(as_picture(pixels), compress_level=0)


def _check_alike(pairs: Sequence[Pair], count: int, classes: tuple[str, ...]) -> None:
    shapes = {pair.fake.source: pair.fake.pixels.shape[1:] for pair in pairs}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{source} {'x'.join(map(str, shape))}" for source, shape in shapes.items())
        raise SonoforgeError(
            f"--reading-sheet: images of different sizes ({found}); give one with --image-size or images.channels"
        )
    total = 2 * count * len(pairs) * int(np.prod(next(iter(shapes.values()))))
    if total > MOST_BYTES:
        raise SonoforgeError(
            f"--reading-sheet: {total / 1e6:.0f} MB of pixels exceed the limit of {MOST_BYTES / 1e6:.0f} for one page; "
            "take fewer images, or a smaller --image-size"
        )
    for pair in pairs:
        shown = pair.fake.class_name or pair.real.class_name
        if classes and shown not in classes:
            raise SonoforgeError(
                f"reading_classes: {pair.fake.source} shows {shown or 'an unnamed class'}, not one of "
                f"{', '.join(classes)}; add it, or give --class"
            )

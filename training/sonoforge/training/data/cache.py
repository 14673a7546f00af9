"""Each image decoded and resized once, ever: a folder of self-checking files, read by memory map.

Three kinds of files live in the cache folder, below a name made of the format's version and Pillow's (another
Pillow may decode or resize to other bytes):

* ``entries-S/ab/abcd....bin``: one image at size S, its thumbnail and its facts, named by the sha256 of the
  *file's bytes*.  Adding one image to a set decodes one image; two sets that share files share entries.
* ``packs-S/KEY.bin``: the images of one set in its order, memory-mapped; KEY is a hash of their entries' names.
* ``folders/KEY.json``: which file of a data set had which sha256, so that opening it again need not read it.

A file's recorded sha256 is trusted while its size, inode, modification time and status-change time (ctime)
are all as recorded.  ctime cannot be set back by copying tools, so a file replaced by one of the same size and
date is noticed.  A file changed less than 2 s before it was hashed is hashed again next time: clocks of file
systems tick coarsely, and a second change within one tick would show in no time stamp.

Entries and packs check themselves (`checked_file`): a damaged or truncated one is made again, never used.
Files are replaced whole, so processes may share the folder without locks: the worst that a race can do is to
do the same work twice.  To free the space, delete the folder.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.training.data.checked_file import CheckedWriter, replacing, split_checked
from sonoforge.training.data.datasets import Dataset, Item
from sonoforge.training.data.thumbnails import SIDE, Thumbnails, make_thumbnail
from sonoforge.training.progress import is_interactive, progress_bar

if TYPE_CHECKING:
    from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.data.duplicates import Duplicates

log = logging.getLogger(__name__)

_FORMAT = 2  # 2: rows are resized before columns, whatever the image's shape
_TIMESTAMP_TICK = 2_000_000_000  # nanoseconds; FAT, the coarsest file system in use, ticks every 2 s


@dataclass(frozen=True, eq=False)
class ImageCache:
    """The images of one data set, decoded, in the order of ``dataset.items``.

    Attributes:
        dataset: The data set without the items that cannot be read.
        size: Side S of the square images.
        images: (N, S, S, 3) uint8, read-only memory map.
        hashes: Content hash of each image: sha256 of its size and all its decoded pixels, equal for the same
            picture in another file format or as grey instead of RGB.
        thumbnails: (N, 64, 64) uint8 grey.
        sizes: (N, 2) int64 width and height as stored in the file (upright).
        modes: ``L``, ``RGB``, or ``RGB grey`` where the three channels are equal.
        unreadable: Message for each file that was left out, by its relative path.
    """

    dataset: Dataset
    size: int
    images: NDArray[np.uint8]
    hashes: tuple[str, ...]
    thumbnails: Thumbnails
    sizes: NDArray[np.int64]
    modes: tuple[str, ...]
    unreadable: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """Sha256 over the content hashes with their class names, sorted: the same data, whatever the names."""
        classes = self.dataset.classes
        lines = sorted(f"{h} {classes[item.label]}\n" for h, item in zip(self.hashes, self.dataset.items, strict=True))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def labelled(self, indices: NDArray[np.int64], groups: NDArray[np.int64] | None = None) -> LabelledImages:
        """Return some of the images; ``groups`` (N,) are those of all images, if they are known."""
        own = None if groups is None else groups[indices]
        return LabelledImages(self.images[indices], self.dataset.labels[indices], self.dataset.classes, own)

    @functools.cached_property
    def duplicates(self) -> Duplicates:
        """Which images show the same scan; found at the first use, from these pixels alone."""
        # Exporting reads the cache, too, and should not wait for SciPy.
        from sonoforge.training.data.duplicates import find_duplicates  # noqa: PLC0415

        return find_duplicates(self.thumbnails, self.hashes)


def default_folder() -> Path:
    """Return ``$SONOFORGE_CACHE``, or ``~/.cache/sonoforge`` where it is not set."""
    return Path(os.environ.get("SONOFORGE_CACHE") or Path.home() / ".cache" / "sonoforge")


def open_cache(dataset: Dataset, size: int = 224, folder: Path | None = None) -> ImageCache:
    """Decode what was never decoded before and map the rest.

    Pixels are those of `read_image` followed by ``Preprocessing(size).resize``: the runtime's own.

    Args:
        dataset: What to open.
        size: Side of the square images, in pixels.
        folder: Cache folder; `default_folder` where None.

    Raises:
        SonoforgeError: The cache folder cannot be written, or a class has no readable image.
    """
    base = (folder or default_folder()) / f"format{_FORMAT}-pillow{PIL.__version__}"
    digests, unreadable = _hash_files(dataset, base / "folders")
    entries = _Entries(base / f"entries-{size}", size)
    unreadable |= entries.fill(dataset, digests)
    items = [item for item in dataset.items if item.path not in unreadable]
    _check_classes(dataset, items, unreadable)
    names = [digests[item.path] for item in items]
    key = hashlib.sha256("\n".join(names).encode()).hexdigest()[:32]
    pack = base / f"packs-{size}" / f"{key}.bin"
    mapped = _map_pack(pack, len(items), size)
    if mapped is None:
        _write_pack(pack, entries, dataset.root, [(item.path, digests[item.path]) for item in items])
        mapped = _map_pack(pack, len(items), size)
        if mapped is None:
            raise SonoforgeError(f"{pack}: reads back damaged; check the disk, or set SONOFORGE_CACHE to another")
    if unreadable:
        first = next(iter(unreadable.values()))
        log.warning("%d of %d files cannot be read and are left out: %s", len(unreadable), len(dataset.items), first)
    facts, images, thumbnails = mapped
    return ImageCache(
        dataset=replace(dataset, items=tuple(items)),
        size=size,
        images=images,
        hashes=tuple(fact.content for fact in facts),
        thumbnails=thumbnails,
        sizes=np.array([(fact.width, fact.height) for fact in facts], dtype=np.int64),
        modes=tuple(fact.mode for fact in facts),
        unreadable=dict(sorted(unreadable.items())),
    )


def _check_classes(dataset: Dataset, items: Sequence[Item], unreadable: dict[str, str]) -> None:
    left = {item.label for item in items}
    for label, name in enumerate(dataset.classes):
        if label not in left:
            count = sum(item.label == label for item in dataset.items)
            first = next(unreadable[item.path] for item in dataset.items if item.label == label)
            raise SonoforgeError(f"{dataset.root / name}: none of its {count} images can be read; the first: {first}")


# ---- which bytes each file holds


def _hash_files(dataset: Dataset, folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the sha256 of each file and the message of each that cannot be opened, by relative path."""
    note = folder / (hashlib.sha256(str(dataset.root.resolve()).encode()).hexdigest()[:32] + ".json")
    known = _read_note(note)
    digests: dict[str, str] = {}
    failed: dict[str, str] = {}
    fresh: dict[str, list[int | str]] = {}

    def digest(item: Item) -> None:
        path = dataset.root / item.path
        try:
            stamp = _stamp(path)
            recorded = known.get(item.path, [])
            if recorded[:-1] == stamp:
                digests[item.path] = str(recorded[-1])
                return
            now = time.time_ns()
            found = _sha256(path)
        except OSError as error:
            failed[item.path] = f"{path}: cannot be read ({error.strerror or error})"
            return
        digests[item.path] = found
        if now - max(stamp[2], stamp[3]) > _TIMESTAMP_TICK and stamp == _stamp(path):
            fresh[item.path] = [*stamp, found]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(digest, dataset.items))
    if fresh:
        with replacing(note) as file:
            file.write(json.dumps(known | fresh).encode())
    return digests, failed


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read_note(path: Path) -> dict[str, list[int | str]]:
    """Read a folder's note; a missing or damaged one only costs hashing again."""
    try:
        note = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in note.items() if isinstance(v, list)} if isinstance(note, dict) else {}


# ---- one file for each image


class _Facts(NamedTuple):
    """What is kept of an image besides its pixels."""

    content: str
    width: int
    height: int
    mode: str


class _Entry(NamedTuple):
    facts: _Facts
    pixels: NDArray[np.uint8]  # (S, S, 1) where the picture is grey, else (S, S, 3)
    thumbnail: NDArray[np.uint8]  # (64, 64)


class _Entries:
    """The decoded images, by the sha256 of their files."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._preprocessing = Preprocessing(size=size)

    def fill(self, dataset: Dataset, digests: dict[str, str]) -> dict[str, str]:
        """Decode every image that has no entry; return the message of each that cannot be decoded."""
        wanted = {digest: path for path, digest in digests.items()}
        missing = {digest: path for digest, path in wanted.items() if not self._path(digest).exists()}
        failed: dict[str, str] = {}

        def decode(digest: str) -> None:
            try:
                self._decode(dataset.root / missing[digest], digest)
            except SonoforgeError as error:
                failed[digest] = str(error)

        if missing:
            log.info("decoding %d new images of %s", len(missing), dataset.name)
        watched = len(missing) > 50 and is_interactive()
        with (
            ThreadPoolExecutor(os.cpu_count()) as pool,
            progress_bar("decoding", len(missing), show=watched) as advance,
        ):
            for done, _ in enumerate(pool.map(decode, missing), start=1):
                advance(done, None)
        return {path: failed[digest] for path, digest in digests.items() if digest in failed}

    def read(self, path: Path, digest: str) -> _Entry:
        """Return one entry, decoding the image again where the entry is missing or damaged."""
        try:
            data = memoryview(self._path(digest).read_bytes())
        except OSError:
            return self._decode(path, digest)
        body = split_checked(data)
        if body is None:
            return self._decode(path, digest)
        facts, start, stop = body
        middle = start + SIDE**2
        side = self._preprocessing.size
        thumbnail = np.frombuffer(data[start:middle], np.uint8).reshape(SIDE, SIDE)
        pixels = np.frombuffer(data[middle:stop], np.uint8).reshape(side, side, -1)
        return _Entry(_Facts(*facts), pixels, thumbnail)

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / f"{digest}.bin"

    def _decode(self, path: Path, digest: str) -> _Entry:
        entry = _make_entry(read_image(path), self._preprocessing)
        if _sha256(path) != digest:
            raise SonoforgeError(f"{path}: changed while it was being read; run the command again")
        with replacing(self._path(digest)) as file:
            writer = CheckedWriter(file)
            writer.add(entry.thumbnail)
            writer.add(entry.pixels)
            writer.finish(entry.facts)
        return entry


def _make_entry(image: Image.Image, preprocessing: Preprocessing) -> _Entry:
    mode = image.mode
    if mode == "RGB":
        red, green, blue = image.split()
        if red.tobytes() == green.tobytes() == blue.tobytes():
            image, mode = red, "RGB grey"
    width, height = image.size
    content = hashlib.sha256(f"{image.mode} {width}x{height} ".encode())
    content.update(image.tobytes())
    pixels = preprocessing.resize(image)
    return _Entry(
        _Facts(content.hexdigest(), width, height, mode),
        np.ascontiguousarray(pixels[:, :, :1]) if image.mode == "L" else pixels,
        make_thumbnail(image),
    )


# ---- one memory-mapped file for each set

_Mapped = tuple[list[_Facts], NDArray[np.uint8], NDArray[np.uint8]]


def _write_pack(path: Path, entries: _Entries, root: Path, files: Sequence[tuple[str, str]]) -> None:
    """Gather the entries of one set, in order, into one file: the images, then the thumbnails."""
    facts, thumbnails = [], []
    with replacing(path) as file:
        writer = CheckedWriter(file)
        for name, digest in files:
            entry = entries.read(root / name, digest)
            writer.add(np.broadcast_to(entry.pixels, (*entry.pixels.shape[:2], 3)))
            thumbnails.append(entry.thumbnail)
            facts.append(entry.facts)
        writer.add(np.stack(thumbnails))
        writer.finish(facts)


def _map_pack(path: Path, count: int, size: int) -> _Mapped | None:
    """Map a set's file; None where it is missing or not what was written."""
    try:
        data = np.memmap(path, np.uint8, mode="r")
    except (OSError, ValueError):
        return None
    body = split_checked(data.data)
    if body is None:
        return None
    facts, start, stop = body
    middle = stop - count * SIDE**2
    images = data[start:middle].reshape(count, size, size, 3)
    thumbnails = np.array(data[middle:stop]).reshape(count, SIDE, SIDE)
    return [_Facts(*row) for row in facts], images, thumbnails

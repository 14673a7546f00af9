"""Decode and resize every image only once: a folder of self-checking files, read by memory map.

Below a name made from the format's and Pillow's versions are:

* ``images-S/ab/abcd....bin``: one image at size S with its grey picture (`copies.pictures`) and its facts, named by the
  sha256 of the *file's bytes*; ``images-S-crop/``: the same cropped to the scan, see `Preprocessing.crop`.
* ``sets-S/KEY.bin``: all images of one set in order, mapped as one array; KEY is a hash of their files' hashes.
* ``folders/KEY.json``: the sha256 of each file of a data set, trusted while the file's size, inode, modification time
  and status-change time are unchanged, but not if it changed less than 2 s before, because file system clocks are
  coarse.

A damaged file is rebuilt, never used.  Files are replaced atomically, so processes may share the folder without locks.
Only its owner can read it, and the least recently used files go first if it grows too large.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import json
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.atomic import private_folder, replacing
from sonoforge.runtime.cli.options import option
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.inputs import sha256_of
from sonoforge.runtime.images.plain_image import grey_levels, remarks_on
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.training.checked_file import read_checked, write_checked
from sonoforge.training.copies.pictures import SIDE, Picture, fit, fitted_size
from sonoforge.training.data.datasets import Dataset, Item
from sonoforge.training.progress import in_threads

if TYPE_CHECKING:
    from sonoforge.training.copies.near_duplicates import NearDuplicates

log = logging.getLogger(__name__)

NONE = "none"
_FORMAT = 6
_TIMESTAMP_TICK = 2_000_000_000  # nanoseconds; FAT, the coarsest file system in use, ticks every 2 s
# What the program writes into the folder; nothing else there is counted or removed.
_IMAGES, _SETS = ("format*", "features"), ("phantom-*", "unpacked-*")


@dataclass(frozen=True, eq=False)
class ImageCache:
    """The images of one data set, decoded, in the order of ``dataset.items``."""

    dataset: Dataset  # the data set without unreadable items
    size: int  # side S of the square images
    images: NDArray[np.uint8]  # (N, S, S, 3) uint8, read-only memory map
    # Content hash of each image: sha256 of its size and decoded pixels, equal for the same picture in another format or
    # as grey instead of RGB.
    hashes: tuple[str, ...]
    pictures: Sequence[Picture]  # N grey (H, W) uint8, longest side 256, shape kept; read-only memory maps
    sizes: NDArray[np.int64]  # (N, 2) int64 width and height as stored in the file (upright)
    boxes: NDArray[np.int64]  # (N, 4) int64 left, top, right, bottom of what was resized to ``images``
    modes: tuple[str, ...]  # `L`, `RGB`, or `RGB grey` where the three channels are equal
    unreadable: dict[str, str]  # message for each file that was left out, by its relative path
    store: Path | None = None  # folder that keeps results about the set, such as near-duplicates
    crop: str = "none"  # row of `preprocessing.CROPS` that cropped the images
    remarks: Mapping[str, int] = field(default_factory=dict)  # number of images by what was noticed while reading

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the sorted content hashes with their class names, independent of file names."""
        classes = self.dataset.classes
        lines = sorted(f"{h} {classes[item.label]}\n" for h, item in zip(self.hashes, self.dataset.items, strict=True))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def contents(self) -> dict[str, str]:
        """Content hash of each image by its path."""
        return dict(zip((item.path for item in self.dataset.items), self.hashes, strict=True))

    @property
    def class_counts(self) -> list[int]:
        """Number of images of each class."""
        counts: list[int] = np.bincount(self.dataset.labels, minlength=len(self.dataset.classes)).tolist()
        return counts

    def at(self, size: int) -> ImageCache:
        """Open the same images at another side; needs ``store``."""
        folder = None if self.store is None else self.store.parent
        again = open_cache(self.dataset, size, folder, self.crop)
        if again.hashes != self.hashes:
            raise SonoforgeError(f"{self.dataset.root}: files were changed while they were in use; start again")
        return again

    @functools.cached_property
    def near_duplicates(self) -> NearDuplicates:
        """Groups of images that show the same scan, searched for on first use, from these pixels only."""
        # Exporting reads the cache, too, without SciPy or OpenCV.
        from sonoforge.training.copies.near_duplicates import find_near_duplicates  # noqa: PLC0415

        return find_near_duplicates(self.pictures, self.hashes, self.store)


def open_cache(dataset: Dataset, size: int = 224, folder: Path | None = None, crop: str = "none") -> ImageCache:
    """Decode new images and map the rest.

    Pixels are the runtime's own, from ``Preprocessing(size, crop=crop)``. Hashes and grey pictures cover whole images,
    so cropping changes neither groups nor folds.
    """
    base = (folder or default_folder()) / f"format{_FORMAT}-pillow{PIL.__version__}"
    with refusing(f"{base}: the image cache cannot be written", "set SONOFORGE_CACHE to another folder"):
        base.mkdir(parents=True, exist_ok=True)
    digests, unreadable = _hash_files(dataset, base / "folders")
    kind = f"{size}" if crop == "none" else f"{size}-crop"
    decoder = _Decoder(base / f"images-{kind}", dataset, Preprocessing(size=size, crop=crop))
    unreadable |= decoder.decode_missing(digests)
    items = [item for item in dataset.items if item.path not in unreadable]
    for label, name in enumerate(dataset.classes):
        if label not in {item.label for item in items}:
            lost = [item for item in dataset.items if item.label == label]
            raise SonoforgeError(
                f"{dataset.root}: class {name}: none of its {len(lost)} images can be read; the first: "
                f"{unreadable[lost[0].path]}"
            )
    digests = {item.path: digests[item.path] for item in items}
    path = base / f"sets-{kind}" / (hashlib.sha256("\n".join(digests.values()).encode()).hexdigest()[:32] + ".bin")
    whole = _read(path, len(items), size)
    if whole is None:
        _write(path, lambda: (decoder.image(name, digest) for name, digest in digests.items()))
        whole = _read(path, len(items), size)
        if whole is None:
            raise SonoforgeError(f"{path}: reads back damaged; check the disk, or set SONOFORGE_CACHE to another")
    with contextlib.suppress(OSError):
        os.utime(path)  # marks it as used, so that it is among the last to be pruned
    facts, pixels, pictures = whole
    if unreadable:
        first = next(iter(unreadable.values()))
        log.warning("%d of %d files cannot be read and are left out: %s", len(unreadable), len(dataset.items), first)
    remarks = Counter(remark for fact in facts for remark in fact.remarks)
    for remark, count in remarks.items():
        log.warning("%s: %d of %d images: %s", dataset.name, count, len(items), remark)
    return ImageCache(
        dataset=replace(dataset, items=tuple(items)),
        size=size,
        images=pixels,
        hashes=tuple(fact.content for fact in facts),
        pictures=pictures,
        sizes=np.array([(fact.width, fact.height) for fact in facts], dtype=np.int64),
        boxes=np.array([fact.box or (0, 0, fact.width, fact.height) for fact in facts], dtype=np.int64),
        modes=tuple(fact.mode for fact in facts),
        unreadable=dict(sorted(unreadable.items())),
        remarks=dict(sorted(remarks.items())),
        store=base,
        crop=crop,
    )


# ---- hashes of the files


def _hash_files(dataset: Dataset, folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the SHA-256 of each file, and a message for each that cannot be opened, by relative path."""
    note = folder / (hashlib.sha256(str(dataset.root.resolve()).encode()).hexdigest()[:32] + ".json")
    known = _read_note(note)
    digests: dict[str, str] = {}
    failed: dict[str, str] = {}
    fresh: dict[str, list[int | str]] = {}

    def digest(item: Item) -> None:
        path = dataset.file(item.path)
        try:
            stamp = _stamp(path)
            *before, recorded = known.get(item.path, [""])
            now = time.time_ns()
            digests[item.path] = found = str(recorded) if before == stamp else sha256_of(path)
            if before != stamp and now - max(stamp[2:]) > _TIMESTAMP_TICK and stamp == _stamp(path):
                fresh[item.path] = [*stamp, found]
        except OSError as error:
            digests.pop(item.path, None)
            failed[item.path] = f"{path}: cannot be read ({error.strerror or error})"

    in_threads(digest, dataset.items)
    if fresh:
        with replacing(note, durable=False) as file:
            file.write(json.dumps(known | fresh).encode())
    return digests, failed


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def _read_note(path: Path) -> dict[str, list[int | str]]:
    """Read the recorded hashes of a folder; none if missing or damaged."""
    try:
        note = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in note.items() if isinstance(v, list) and v} if isinstance(note, dict) else {}


# ---- one image, decoded


def content_hash(image: Image.Image) -> str:
    """Return the SHA-256 of an image's mode, size and pixels, which is equal in any lossless file format."""
    digest = hashlib.sha256(f"{image.mode} {image.width}x{image.height} ".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


class _Facts(NamedTuple):
    """What is stored about an image besides its pixels."""

    content: str
    width: int
    height: int
    mode: str
    box: tuple[int, int, int, int] | None = None  # the crop; None for the whole image
    remarks: tuple[str, ...] = ()  # what was noticed while reading


class _Image(NamedTuple):
    facts: _Facts
    pixels: NDArray[np.uint8]  # (S, S, 3)
    picture: Picture


@dataclass(frozen=True)
class _Decoder:
    """Decodes the files of one data set."""

    folder: Path
    dataset: Dataset
    preprocessing: Preprocessing

    def decode_missing(self, digests: dict[str, str]) -> dict[str, str]:
        """Decode every new image; return messages, by path, for those that cannot be decoded."""
        names = {digest: name for name, digest in digests.items()}
        missing = [digest for digest in names if not self._path(digest).exists()]
        failed: dict[str, str] = {}

        def decode(digest: str) -> None:
            try:
                self._decode(names[digest], digest)
            except SonoforgeError as error:
                failed[digest] = str(error)

        if missing:
            log.info("decoding %d new images of %s", len(missing), self.dataset.name)
        in_threads(decode, missing, "decoding" if len(missing) > 50 else "")
        return {name: failed[digest] for name, digest in digests.items() if digest in failed}

    def image(self, name: str, digest: str) -> _Image:
        """Return one image, decoding it again if its cached file is missing or damaged."""
        cached = _read(self._path(digest), 1, self.preprocessing.size)
        if cached is None:
            return self._decode(name, digest)
        facts, pixels, pictures = cached
        return _Image(facts[0], pixels[0], pictures[0])

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.bin"

    def _decode(self, name: str, digest: str) -> _Image:
        path = self.dataset.file(name)
        picture: Image.Image = read_image(path)
        mode, remarks = picture.mode, remarks_on(picture)
        if mode == "RGB":
            red, green, blue = picture.split()
            if red.tobytes() == green.tobytes() == blue.tobytes():
                picture, mode = red, "RGB grey"
        area = self.preprocessing.scan_area(picture)
        image = _Image(
            _Facts(content_hash(picture), *picture.size, mode, area.box if area else None, remarks),
            self.preprocessing.resize(picture.crop(area.box) if area else picture),
            fit(grey_levels(picture)),
        )
        if sha256_of(path) != digest:
            raise SonoforgeError(f"{path}: changed while it was being read; run the command again")
        _write(self._path(digest), lambda: [image])
        return image


# ---- one file of one image, or of all images of a set


class _ColouredError(Exception):
    """An image has colours, but should have one channel."""


def _write(path: Path, images: Callable[[], Iterable[_Image]], channels: int = 1) -> None:
    """Write the pixels of each image and its grey picture on a square of `SIDE` pixels, image by image."""
    facts: list[_Facts] = []

    def arrays() -> Iterator[NDArray[np.uint8]]:
        for image in images():
            if channels == 1 and image.facts.mode == "RGB":
                raise _ColouredError
            facts.append(image.facts)
            yield image.pixels[..., :channels]
            height, width = image.picture.shape
            yield np.pad(image.picture, ((0, SIDE - height), (0, SIDE - width)))

    try:
        write_checked(path, arrays(), facts)
    except _ColouredError:
        _write(path, images, 3)


def _read(path: Path, count: int, size: int) -> tuple[list[_Facts], NDArray[np.uint8], list[Picture]] | None:
    """Map a file of images: their facts, pixels (N, S, S, 3) and grey pictures; None if missing or damaged."""
    found = read_checked(path)
    if found is None:
        return None
    facts, data = found
    pixels, squares = np.split(data.reshape(count, -1), [-SIDE * SIDE], axis=1)
    rows = [_Facts(*row) for row in facts]
    sizes = [fitted_size(row.width, row.height) for row in rows]
    placed = zip(squares.reshape(count, SIDE, SIDE), sizes, strict=True)
    pictures = [square[:height, :width] for square, (width, height) in placed]
    return rows, np.broadcast_to(pixels.reshape(count, size, size, -1), (count, size, size, 3)), pictures


# ---- the folder


@dataclass(frozen=True)
class CacheSettings:
    """The folder of decoded images."""

    folder: str = option(
        "",
        help="folder that caches decoded images (default: $SONOFORGE_CACHE or ~/.cache/sonoforge); none: "
        "delete them when the command ends",
    )
    limit: float = option(
        20.0,
        help="largest size of that cache in GB; the least recently used images are deleted first",
        limits=(0.1, None),
    )

    def open(self) -> Path:
        """Return the folder, creating it if needed, with room for the images to come."""
        folder = _temporary_folder() if self.folder == NONE else Path(self.folder or default_folder())
        if not folder.is_dir():
            remedy = "choose another with --set cache.folder=FOLDER, or keep none with --set cache.folder=none"
            with refusing(f"{folder}: the folder of decoded images cannot be written", remedy, OSError):
                folder.parent.mkdir(parents=True, exist_ok=True)
                folder.mkdir(mode=0o700, exist_ok=True)  # its owner alone may read it
            log.info("decoded images are kept in %s; sonoforge data list --clear-cache deletes them", folder)
        prune(folder, int(self.limit * 1e9))
        return folder


def default_folder() -> Path:
    """Return ``$SONOFORGE_CACHE``, or ``~/.cache/sonoforge`` if it is not set."""
    return Path(os.environ.get("SONOFORGE_CACHE") or Path.home() / ".cache" / "sonoforge")


@functools.cache
def _temporary_folder() -> Path:
    """Make this process's folder; the next process removes what a killed one left behind."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(private_folder("sonoforge-images"))


def kept_files(folders: Iterable[Path]) -> list[tuple[float, int, Path]]:
    """Return the last-use time, bytes and path of files below some folders, least recently used first."""
    found = []
    for path in (Path(parent, name) for own in folders for parent, _, names in os.walk(own) for name in names):
        with contextlib.suppress(OSError):  # another process was faster
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    return sorted(found)


def look_at_cache(folder: str = "", *, clear: bool = False) -> dict[str, Any]:
    """Return ``folder``, ``files``, ``bytes`` and ``removed`` of the usual cache or another, and empty it if asked.

    Raises:
        SonoforgeError: Something cannot be deleted.
    """
    path = Path(folder or default_folder())
    own = [each for pattern in _IMAGES + _SETS for each in sorted(path.glob(pattern)) if each.is_dir()]
    files = kept_files(own)
    try:
        for each in own if clear else ():
            shutil.rmtree(each)
    except OSError as error:
        raise SonoforgeError(f"{error.filename}: cannot be deleted ({error.strerror}); delete it by hand") from error
    return {"folder": str(path), "files": len(files), "bytes": sum(size for _, size, _ in files), "removed": clear}


def prune(folder: Path, most_bytes: int) -> int:
    """Remove the least recently used files until at most this many bytes are left; return the bytes removed.

    A process that has mapped a file keeps it until it ends.  Simulated and unpacked sets stay: they may be in use.
    """
    files = kept_files(path for pattern in _IMAGES for path in folder.glob(pattern))
    excess = sum(size for _, size, _ in files) - most_bytes
    removed = 0
    for _, size, path in files:
        if removed >= excess:
            break
        with contextlib.suppress(OSError):
            path.unlink()
            removed += size
    if removed:
        log.info("%s: %.1f GB of the least recently used images were removed (cache.limit)", folder, removed / 1e9)
    return removed

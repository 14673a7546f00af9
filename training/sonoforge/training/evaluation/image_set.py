"""Read an evaluation's image sets from a folder, a ``.zip`` or an ``.npz``, and bring them to a common size.

A picture declares itself generated in the text of its PNG file (see ``gan/synthetic.py``), a set in ``manifest.json``
(an ``.npz`` in the array ``manifest``). Masks are left out, and nothing is unpickled.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.errors import SonoforgeError, check_known, did_you_mean, refusing
from sonoforge.runtime.images import decoding
from sonoforge.runtime.images.file_kinds import KINDS_IN_WORDS
from sonoforge.runtime.images.folders import is_outline
from sonoforge.runtime.images.plain_image import grey_levels, remarks_on
from sonoforge.runtime.images.synthetic import MANIFEST, as_picture
from sonoforge.training.checked_file import read_npz
from sonoforge.training.copies.near_duplicates import find_near_duplicates, join_scans
from sonoforge.training.copies.pictures import Picture, fit
from sonoforge.training.data import data_option, datasets, layouts, load, selection, unpacking
from sonoforge.training.data.cache import ImageCache, content_hash, default_folder
from sonoforge.training.data.pixels import Pixels, prepare_images
from sonoforge.training.evaluation.spaces import SAMPLED
from sonoforge.training.phantom import PHANTOM_IMAGES
from sonoforge.training.progress import in_threads

log = logging.getLogger(__name__)

MOST_BYTES = 8_000_000_000  # of one set, packed or decoded
MOST_UNREADABLE = 0.1  # of a set's files; beyond it a figure would be of another set


class Described(NamedTuple):
    """One image at its own size."""

    name: str  # of the file, or a number
    content: str  # hash of its content, see `fingerprints.content_hash`
    picture: Picture  # grey (H, W) uint8, see `copies.pictures`
    size: tuple[int, int]  # width and height, pixels
    group: str | None  # its group in `groups.csv`, if any


class StoredSet(NamedTuple):
    """A set before its size and channels are chosen."""

    images: Sequence[Pixels]  # (H, W, C) uint8 each, C = 1 or 3; real ones at the size of the image cache
    described: Sequence[Described]
    class_name: str = ""  # what they show; empty if unknown
    declared: bool | None = None  # whether the set declares itself generated; None: undeclared
    generated: Sequence[str] = ()  # names of the images that declare themselves generated
    store: Path | None = None  # folder that caches which images are near-duplicates


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A set at the common size, with the common number of channels."""

    source: str  # as the user named it
    pixels: Pixels  # (N, S, S, C) uint8, C = 1 or 3
    described: tuple[Described, ...]  # the same images at their own size
    class_name: str
    synthetic: bool | None
    resize: str  # how the images came to their size, in words
    originals: tuple[Pixels, ...] = ()  # some of them as stored, (H, W, C) uint8 each
    store: Path | None = None  # as in `StoredSet`
    class_counts: Mapping[str, int] = field(default_factory=dict)  # images of each class, if there are several
    scans_known: bool = False  # whether the given groups hold all near-duplicates, so that none are searched for

    def __len__(self) -> int:
        """Return the number N of images."""
        return len(self.pixels)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each image."""
        return tuple(image.name for image in self.described)

    @functools.cached_property
    def groups(self) -> NDArray[np.int64]:
        """(N,) group of each image, joining near-duplicates, equal contents and given groups."""
        contents = [image.content for image in self.described]
        looked_at = [] if self.scans_known else [image.picture for image in self.described]
        found = find_near_duplicates(looked_at, contents if looked_at else (), self.store)
        return join_scans(found, [image.group for image in self.described], contents)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the pixels in order: sets with equal fingerprints give equal figures."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()

    def take(self, indices: NDArray[np.intp]) -> ImageSet:
        """Return the images at these indices."""
        return replace(
            self, pixels=self.pixels[indices], described=tuple(self.described[index] for index in indices.tolist())
        )


class HeldOut(NamedTuple):
    """Real images that a generator never saw, without near-duplicates of its training images."""

    images: ImageSet
    groups: NDArray[np.int64]  # (N,) group of each
    trained: NDArray[np.int64]  # (M,) group of each training image, in the same numbering


def describe(name: str, pixels: Pixels, group: str | None) -> Described:
    """Describe an image (H, W, C) uint8, C = 1 or 3, as the image cache does."""
    image = as_picture(pixels)
    return Described(name, content_hash(image), fit(grey_levels(image)), image.size, group)


def store_arrays(
    images: Sequence[Pixels],
    names: Sequence[str],
    class_name: str,
    *,
    declared: bool | None,
    groups: Sequence[str | None] = (),
) -> StoredSet:
    """Return images in memory, (H, W, C) uint8 each, as a set; see `StoredSet` for the fields."""
    each = zip(names, images, groups or [None] * len(images), strict=True)
    return StoredSet(images, [describe(*one) for one in each], class_name, declared)


def resized(source: str, stored: StoredSet, size: int, channels: int, resize: str) -> ImageSet:
    """Resize a set to (N, size, size, channels); ``resize`` describes how, in words."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(stored.images):
        by_shape.setdefault(image.shape, []).append(index)
    pixels = np.empty((len(stored.images), size, size, channels), np.uint8)
    for indices in by_shape.values():
        pixels[indices] = prepare_images(np.stack([stored.images[index] for index in indices]), size, channels)
    originals = tuple(stored.images[index] for index in selection.evenly_spaced(len(stored.images), SAMPLED))
    synthetic = True if stored.generated else stored.declared
    return ImageSet(
        source, pixels, tuple(stored.described), stored.class_name, synthetic, resize, originals, stored.store
    )


# ---- reading


def read_pictures(path: Path, choose: Callable[[Sequence[str]], str], store: Path | None = None) -> StoredSet:
    """Read and decode a set of pictures; a folder's files use all cores.

    Args:
        path: A folder of images, or of one folder for each class; a ``.zip`` of either; or an ``.npz`` with ``images``.
        choose: Returns which of the given class folders to read; an empty text means all.
        store: Where to unpack a zip; `cache.default_folder` if None.

    Raises:
        SonoforgeError: There is nothing, another kind of file, no pictures, too much data, or too many unreadable
            files.
    """
    if path.suffix == ".npz" and path.is_file():
        return _read_npz(path)
    source, folder = str(path), unpacking.unpacked(path, store or default_folder())
    if not folder.is_dir():
        raise absent(source)
    dataset, manifest = find_images(folder), read_manifest(folder)
    shown = choose(dataset.classes) if len(dataset.classes) > 1 else ""
    items = [item for item in dataset.items if shown in ("", dataset.classes[item.label])]
    unreadable: dict[str, str] = {}
    remarks = Counter[str]()
    total = 0

    def decode(item: datasets.Item) -> tuple[Pixels, Described, bool] | None:
        nonlocal total
        file = dataset.root / item.path
        try:
            image, generated = decoding.read_image(file), says_generated(file)
        except (SonoforgeError, OSError) as error:
            unreadable[item.path] = str(error)
            return None
        remarks.update(remarks_on(image))
        pixels = np.asarray(image)
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        elif (pixels == pixels[..., :1]).all():
            pixels = pixels[..., :1]
        total += pixels.nbytes
        if total > MOST_BYTES:
            raise SonoforgeError(f"{source}: more than {MOST_BYTES / 1e9:g} GB of pixels; give fewer images")
        return pixels, describe(item.path, pixels, item.group), generated

    found = [decoded for decoded in in_threads(decode, items) if decoded is not None]
    check_unreadable(source, len(items), unreadable)
    if unreadable:
        first = unreadable[min(unreadable, key=layouts.natural_order)]
        log.warning(
            "%s: %d of %d files cannot be read and are left out: %s", source, len(unreadable), len(items), first
        )
    for remark, count in remarks.items():
        log.warning("%s: %d of %d images: %s", source, count, len(found), remark)
    return StoredSet(
        [pixels for pixels, _, _ in found],
        [about for _, about, _ in found],
        shown or str(manifest.get("class", "")),
        manifest.get("synthetic"),
        [about.name for _, about, generated in found if generated],
    )


def check_unreadable(source: str, count: int, unreadable: Mapping[str, str]) -> None:
    """Raise a SonoforgeError if more than `MOST_UNREADABLE` of a set's ``count`` files are unreadable."""
    if len(unreadable) > MOST_UNREADABLE * count:
        first = next(iter(unreadable.values()))
        raise SonoforgeError(
            f"{source}: {len(unreadable)} of {count} files cannot be read (limit {MOST_UNREADABLE:.0%}); first: {first}"
        )


def says_generated(path: Path) -> bool:
    """Whether a PNG file's text declares the picture generated; its pixels are not decoded."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return str(image.info.get("sonoforge:synthetic")) == "true"
    except Exception:  # not a PNG, or a damaged one, which decoding will report
        return False


def parse_manifest(content: bytes | str) -> dict[str, Any]:
    """Parse a set's manifest; another program's manifest is ignored."""
    try:
        values = json.loads(content)
    except ValueError:
        return {}
    return values if isinstance(values, dict) and isinstance(values.get("synthetic"), bool) else {}


def _read_npz(path: Path) -> StoredSet:
    """Read the array ``images`` of an ``.npz``; see `read_pictures`."""
    arrays = read_npz(path, ["images"], ["manifest"], most_bytes=MOST_BYTES)
    images, manifest = arrays["images"], parse_manifest(str(arrays.get("manifest", "")))
    odd = " with NaN or infinity" if images.dtype.kind == "f" and not np.isfinite(images).all() else ""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise SonoforgeError(
            f"{path}: images is {images.dtype} {images.shape}{odd}; save it as uint8 (N, S, S, 1) or (N, S, S, 3) with "
            "levels 0 to 255"
        )
    pictures = [image[..., :1] if (image == image[..., :1]).all() else image for image in images]
    names = [f"{index:05d}" for index in range(len(images))]
    return store_arrays(pictures, names, str(manifest.get("class", "")), declared=manifest.get("synthetic"))


def find_images(root: Path) -> datasets.Dataset:
    """Find the images of a folder: loose ones as a set of one class, named after it, or class folders.

    Raises:
        SonoforgeError: There are no images, or both loose ones and class folders, which is ambiguous.
    """
    with refusing(f"{root}: cannot be read", "check its permissions", kinds=OSError):
        found, skipped = datasets.find_files(root, recursive=False)
        files = layouts.sort_files(found, lambda file: is_outline(root / file))
        loose = files.images
        folders = layouts.subfolders(root)
        nested = [
            f.name for f in folders if any(datasets.is_image(inner.relative_to(root), root) for inner in f.iterdir())
        ]
    if not loose and not folders:
        raise SonoforgeError(
            f"{root}: contains no images; give a folder of images ({KINDS_IN_WORDS}) or of class folders"
        )
    if not loose and len(folders) == 1 and folders[0].name != datasets.BUSI_FOLDER:
        raise SonoforgeError(f"{root}: contains a single folder; give that one: {folders[0]}")
    if not loose:
        return datasets.read_dataset(root)
    if nested:
        raise SonoforgeError(
            f"{root}: contains {len(loose)} images beside folders of images ({', '.join(sorted(nested)[:3])}); "
            "move them apart"
        )
    name = root.resolve().name
    datasets.tell_layout(root, f"as one class, {name}, because its images are in no folder", files, skipped)
    return datasets.Dataset(name, root, (name,), tuple(datasets.Item(file, 0) for file in loose))


def check_class(source: str, name: str, classes: Sequence[str]) -> str:
    """Return a class name that is known or empty; otherwise raise a SonoforgeError with the closest one."""
    if name:
        check_known(f"class_name: {source or 'the data'}", name, classes)
    return name


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a folder of generated images, empty if it has none."""
    try:
        return parse_manifest((folder / MANIFEST).read_bytes())
    except OSError:
        return {}


def open_phantom(cache_folder: Path | None) -> ImageCache:
    """Open the simulated set of a training run on ``phantom``."""
    return load.load_images(load.ImageSource(data_option.PHANTOM, PHANTOM_IMAGES, 0, cache_folder or default_folder()))


def absent(source: str) -> SonoforgeError:
    """Return the error for a set that does not exist or is another kind of file."""
    problem = "unknown file type" if Path(source).exists() else "no such file or folder"
    return SonoforgeError(
        f"{source}: {problem}; give a folder of images, a .zip, an .npz, a run of sonoforge gan train (as FAKE), or "
        f"phantom{did_you_mean(source, ['phantom'])}"
    )

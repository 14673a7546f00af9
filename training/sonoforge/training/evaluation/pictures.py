"""Read stored sets of pictures: a folder, a ``.zip``, an ``.npz``, the phantom set; masks are left out.

A picture declares itself generated in the text of its PNG file (see ``gan/synthetic.py``), a set in ``manifest.json``
(an ``.npz``: in the array ``manifest``).  Archives are never extracted to disk or unpickled.
"""

import io
import json
import logging
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from sonoforge.runtime.errors import SonoforgeError, did_you_mean, reason
from sonoforge.runtime.images import decoding, limits
from sonoforge.runtime.images.file_kinds import KINDS_IN_WORDS
from sonoforge.runtime.images.folders import is_outline
from sonoforge.runtime.images.plain_image import remarks_on
from sonoforge.runtime.images.synthetic import MANIFEST
from sonoforge.training.data.cache import ImageCache, default_folder
from sonoforge.training.data.data_option import PHANTOM
from sonoforge.training.data.datasets import (
    BUSI_FOLDER,
    Dataset,
    Item,
    find_files,
    is_image,
    read_dataset,
    tell_layout,
)
from sonoforge.training.data.layouts import natural_order, sort_files, subfolders
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.pixels import Pixels
from sonoforge.training.evaluation.image_set import Described, StoredSet, describe, store_arrays
from sonoforge.training.phantom import PHANTOM_IMAGES
from sonoforge.training.progress import in_threads

log = logging.getLogger(__name__)

MOST_ENTRIES = 200_000  # files of an archive
MOST_BYTES = 8_000_000_000  # of one set, packed or decoded
MOST_UNREADABLE = 0.1  # of a set's files; beyond it a figure would be of another set


class Entry(NamedTuple):
    """A picture that is not decoded yet; ``read`` decodes it and returns whether it declares itself generated."""

    name: str
    group: str | None
    read: Callable[[], tuple[Image.Image, bool]]


def decode_all(source: str, entries: Sequence[Entry], class_name: str, manifest: Mapping[str, Any]) -> StoredSet:
    """Decode a set on all cores; an empty ``class_name`` is read from the manifest.

    Raises:
        SonoforgeError: Too much data, or too many unreadable files.
    """
    unreadable: dict[str, str] = {}
    remarks = Counter[str]()
    total = 0

    def decode(entry: Entry) -> tuple[Pixels, Described, bool] | None:
        nonlocal total
        try:
            image, generated = entry.read()
        except (SonoforgeError, OSError) as error:
            unreadable[entry.name] = str(error)
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
        return pixels, describe(entry.name, pixels, entry.group), generated

    found = [decoded for decoded in in_threads(decode, entries) if decoded is not None]
    check_unreadable(source, len(entries), unreadable)
    if unreadable:
        first = unreadable[min(unreadable, key=natural_order)]
        log.warning(
            "%s: %d of %d files cannot be read and are left out: %s", source, len(unreadable), len(entries), first
        )
    for remark, count in remarks.items():
        log.warning("%s: %d of %d images: %s", source, count, len(found), remark)
    return StoredSet(
        [pixels for pixels, _, _ in found],
        [about for _, about, _ in found],
        class_name or str(manifest.get("class", "")),
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


def says_generated(stream: BinaryIO) -> bool:
    """Whether a PNG file's text declares the picture generated; its pixels are not decoded."""
    try:
        with Image.open(stream, formats=["PNG"]) as image:
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


def read_zip(path: Path, choose: Callable[[Sequence[str]], str]) -> StoredSet:
    """Read and decode the images of a ``.zip``; see `read_pictures`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(path, archive, choose)
    except SonoforgeError:
        raise
    except Exception as error:  # hostile bytes may fail in any way
        raise SonoforgeError(
            f"{path}: not a readable .zip ({reason(error)}); pack it again without a password"
        ) from error


def _read_archive(path: Path, archive: zipfile.ZipFile, choose: Callable[[Sequence[str]], str]) -> StoredSet:
    # Old Windows programs write backslashes.
    found = {info.filename.replace("\\", "/"): info for info in archive.infolist()}
    for name, info in found.items():
        if name.startswith("/") or ".." in name.split("/") or re.search(r"[:\0]", name):
            raise SonoforgeError(f"{path}: the entry {info.filename!r} points outside the archive; pack it again")
    files = {PurePosixPath(name).as_posix(): info for name, info in found.items() if not name.endswith("/")}
    size = sum(info.file_size for info in files.values())
    if len(files) > MOST_ENTRIES or size > MOST_BYTES:
        raise SonoforgeError(
            f"{path}: {len(files)} files of {size / 1e9:.1f} GB exceed the limit of {MOST_ENTRIES} files and "
            f"{MOST_BYTES / 1e9:g} GB; give fewer images"
        )

    def outline(name: PurePath) -> bool:
        info = files[name.as_posix()]
        return info.file_size <= limits.MAX_FILE_BYTES and is_outline(io.BytesIO(archive.read(info)))

    images = sort_files([name for name in map(PurePosixPath, files) if is_image(name)], outline).images
    if not images:
        raise SonoforgeError(f"{path}: contains no images; give at least one ({KINDS_IN_WORDS})")
    classes = sorted({PurePosixPath(name).parent.name for name in images}, key=natural_order)
    shown = choose(classes) if len(classes) > 1 else ""
    chosen = [files[name].filename for name in images if shown in ("", PurePosixPath(name).parent.name)]
    names = {info.filename for info in files.values()}
    manifest = parse_manifest(archive.read(MANIFEST)) if MANIFEST in names else {}
    entries = [_zip_entry(path, archive, name) for name in chosen]
    return decode_all(str(path), entries, shown, manifest)


def _zip_entry(path: Path, archive: zipfile.ZipFile, name: str) -> Entry:
    place = f"{path}: {name}"

    def read() -> tuple[Image.Image, bool]:
        size = archive.getinfo(name).file_size
        if size > limits.MAX_FILE_BYTES:
            raise SonoforgeError(f"{place}: too large for an image ({size / 1e6:.0f} MB)")
        try:
            content = archive.read(name)
            return decoding.decode_image(content, place), says_generated(io.BytesIO(content))
        except SonoforgeError:
            raise
        except Exception as error:  # hostile bytes may fail in any way
            raise SonoforgeError(f"{place}: cannot be unpacked and decoded ({reason(error)}); pack it again") from error

    return Entry(name, None, read)


def read_npz(path: Path) -> StoredSet:
    """Read the array ``images`` of an ``.npz``; see `read_pictures`."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MOST_BYTES:
            raise SonoforgeError(f"{path}: {size / 1e9:.1f} GB exceed the limit of {MOST_BYTES / 1e9:g}")
        with np.load(path, allow_pickle=False) as arrays:
            if "images" not in arrays:
                raise SonoforgeError(f"{path}: has no array called images, only {', '.join(arrays.files)}")
            images, manifest = arrays["images"], parse_manifest(str(arrays["manifest"]) if "manifest" in arrays else "")
    except SonoforgeError:
        raise
    except Exception as error:  # hostile bytes may fail in any way
        raise SonoforgeError(f"{path}: not a plain numpy archive ({reason(error)}); save by numpy.savez") from error
    odd = " with NaN or infinity" if images.dtype.kind == "f" and not np.isfinite(images).all() else ""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise SonoforgeError(
            f"{path}: images is {images.dtype} {images.shape}{odd}; save it as uint8 (N, S, S, 1) or (N, S, S, 3) with "
            "levels 0 to 255"
        )
    pictures = [image[..., :1] if (image == image[..., :1]).all() else image for image in images]
    names = [f"{index:05d}" for index in range(len(images))]
    return store_arrays(pictures, names, str(manifest.get("class", "")), declared=manifest.get("synthetic"))


def read_pictures(path: Path, choose: Callable[[Sequence[str]], str]) -> StoredSet:
    """Read and decode a set of pictures.

    Args:
        path: A folder of images, or of one folder for each class; a ``.zip`` of either; or an ``.npz`` with ``images``.
        choose: Returns which of the given class folders to read, or an empty string for all.

    Raises:
        SonoforgeError: Nothing there, another kind of file, no pictures, too much data, or too many unreadable files.
    """
    if path.suffix == ".npz" and path.is_file():
        return read_npz(path)
    if path.suffix == ".zip" and path.is_file():
        return read_zip(path, choose)
    if not path.is_dir():
        raise absent(str(path))
    dataset = find_images(path)
    manifest = read_manifest(path)
    shown = choose(dataset.classes) if len(dataset.classes) > 1 else ""
    items = [item for item in dataset.items if shown in ("", dataset.classes[item.label])]
    return decode_all(str(path), [_file_entry(dataset.root, item) for item in items], shown, manifest)


def find_images(root: Path) -> Dataset:
    """Find the images of a folder: loose ones as a set of one class, named after it, or class folders.

    Raises:
        SonoforgeError: No images, or both loose ones and class folders, which is ambiguous.
    """
    try:
        found, skipped = find_files(root, recursive=False)
        files = sort_files(found, lambda file: is_outline(root / file))
        loose = files.images
        folders = subfolders(root)
        nested = [f.name for f in folders if any(is_image(inner.relative_to(root), root) for inner in f.iterdir())]
    except OSError as error:
        raise SonoforgeError(f"{root}: cannot be read ({error.strerror}); check its permissions") from error
    if not loose and not folders:
        raise SonoforgeError(
            f"{root}: contains no images; give a folder of images ({KINDS_IN_WORDS}) or of class folders"
        )
    if not loose and len(folders) == 1 and folders[0].name != BUSI_FOLDER:
        raise SonoforgeError(f"{root}: contains a single folder; name that one: {folders[0]}")
    if not loose:
        return read_dataset(root)
    if nested:
        raise SonoforgeError(
            f"{root}: contains {len(loose)} images beside folders of images ({', '.join(sorted(nested)[:3])}); "
            "move them apart"
        )
    name = root.resolve().name
    tell_layout(root, f"as one class, {name}, because its images lie in no folder", files, skipped)
    return Dataset(name, root, (name,), tuple(Item(file, 0) for file in loose))


def check_class(source: str, name: str, classes: Sequence[str]) -> str:
    """Return the name of a class; raise a SonoforgeError that names the closest if it is neither known nor empty."""
    if name and name not in classes:
        raise SonoforgeError(
            f"class_name: {source or 'the data'} has no class {name!r}, only {', '.join(classes)}"
            f"{did_you_mean(name, classes)}"
        )
    return name


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a folder of generated images, empty if it has none."""
    try:
        return parse_manifest((folder / MANIFEST).read_bytes())
    except OSError:
        return {}


def _file_entry(root: Path, item: Item) -> Entry:
    path = root / item.path

    def read() -> tuple[Image.Image, bool]:
        image = decoding.read_image(path)
        with path.open("rb") as stream:
            return image, says_generated(stream)

    return Entry(item.path, item.group, read)


def open_phantom(cache_folder: Path | None) -> ImageCache:
    """Open the simulated set of a training on ``phantom``."""
    return load_images(ImageSource(PHANTOM, PHANTOM_IMAGES, 0, cache_folder or default_folder()))


def absent(source: str) -> SonoforgeError:
    """Return the error for a set that does not exist, or is another kind of file."""
    problem = "unknown file type" if Path(source).exists() else "no such file or folder"
    return SonoforgeError(
        f"{source}: {problem}; give a folder of images, a .zip, an .npz, a run of sonoforge gan train (as FAKE), or "
        f"phantom{did_you_mean(source, ['phantom'])}"
    )

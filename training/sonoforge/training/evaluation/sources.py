"""Sets of pictures as they are stored: a folder, a ``.zip``, an ``.npz``, the phantom set.  Masks are left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.runtime.images import decoding
from sonoforge.runtime.images.synthetic import MANIFEST
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.cache_settings import default_folder
from sonoforge.training.data.data_option import PHANTOM
from sonoforge.training.data.datasets import BUSI_FOLDER, IMAGE_SUFFIXES, Dataset, Item, natural_order, read_dataset
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.evaluation.archives import read_npz, read_zip
from sonoforge.training.evaluation.pictures import (
    Entry,
    Pictures,
    decode_all,
    is_image,
    is_mask,
    parse_manifest,
    says_generated,
)
from sonoforge.training.gan.batches.training_set import PHANTOM_IMAGES


def read_pictures(path: Path, choose: Callable[[Sequence[str]], str]) -> Pictures:
    """Read and decode a set of pictures.

    Args:
        path: A folder of images, or of one folder for each class; a ``.zip`` of either; or an ``.npz`` with ``images``.
        choose: Asked where there are class folders: given their names, it returns the one to read, or an empty string
            for all.

    Raises:
        SonoforgeError: Nothing there, another kind of file, no pictures, too much data, or too many files that cannot
            be read.
    """
    if path.suffix == ".npz" and path.is_file():
        return read_npz(path)
    if path.suffix == ".zip" and path.is_file():
        return read_zip(path, choose)
    if not path.is_dir():
        found = "found a file" if path.exists() else "no such file or folder"
        raise SonoforgeError(
            f"{path}: {found}; expected a folder of images, a .zip, an .npz, a run of sonoforge gan train, or phantom"
        )
    dataset = find_images(path)
    manifest = read_manifest(path)
    shown = choose(dataset.classes) if len(dataset.classes) > 1 else ""
    items = [item for item in dataset.items if shown in ("", dataset.classes[item.label])]
    return decode_all(str(path), [_file_entry(dataset.root, item) for item in items], shown, manifest)


def find_images(root: Path) -> Dataset:
    """Find the images of a folder: loose ones as a set of one class, named after it, or class folders.

    Raises:
        SonoforgeError: No images; or both loose ones and class folders, so that it is unclear which are meant.
    """
    try:
        names = sorted((file.name for file in root.iterdir() if is_image(file.name)), key=natural_order)
        folders = [f for f in root.iterdir() if f.is_dir() and not f.name.startswith((".", "__"))]
        nested = [f.name for f in folders if any(is_image(inner.name) for inner in f.iterdir())]
    except OSError as error:
        raise SonoforgeError(f"{root}: cannot be read ({error.strerror}); check its permissions") from error
    stems = {PurePosixPath(name).stem for name in names}
    loose = [name for name in names if not is_mask(PurePosixPath(name).stem, stems)]
    if not loose and not folders:
        raise SonoforgeError(
            f"{root}: found no images, expected some ({', '.join(sorted(IMAGE_SUFFIXES))}), or a folder of them for "
            "each class"
        )
    if not loose and len(folders) == 1 and folders[0].name != BUSI_FOLDER:
        raise SonoforgeError(f"{root}: found a single folder in it; name that one: {folders[0]}")
    if not loose:
        return read_dataset(root)
    if nested:
        raise SonoforgeError(
            f"{root}: found {len(loose)} images beside folders of images ({', '.join(sorted(nested)[:3])}), expected "
            "one or the other; move them apart"
        )
    name = root.resolve().name
    return Dataset(name, root, (name,), tuple(Item(file, 0) for file in loose))


def check_class(source: str, name: str, classes: Sequence[str]) -> str:
    """Return the name of a class if it exists, or an empty one.

    Raises:
        SonoforgeError: It does not exist; names the closest.
    """
    if name and name not in classes:
        raise SonoforgeError(
            f"class_name: found {name!r}, expected one of {', '.join(classes)} of {source}{did_you_mean(name, classes)}"
        )
    return name


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read what a folder of generated images says of itself; empty where it says nothing."""
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
    """Open the simulated set that a training on ``phantom`` sees."""
    return load_images(ImageSource(PHANTOM, PHANTOM_IMAGES, 0, cache_folder or default_folder()))


def absent(source: str) -> SonoforgeError:
    """Return the error for a set that does not exist."""
    return SonoforgeError(
        f"{source}: no such file or folder; expected a folder of images, a .zip, an .npz, or phantom"
        f"{did_you_mean(source, ['phantom'])}"
    )

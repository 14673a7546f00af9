"""Pictures in a ``.zip`` or an ``.npz``: nothing is extracted to disk, nothing is unpickled."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images import decoding, limits
from sonoforge.runtime.images.synthetic import MANIFEST
from sonoforge.training.data.datasets import IMAGE_SUFFIXES, natural_order
from sonoforge.training.evaluation.pictures import (
    MOST_BYTES,
    Entry,
    Pictures,
    decode_all,
    is_image,
    is_mask,
    parse_manifest,
    says_generated,
)

MOST_ENTRIES = 200_000


def read_zip(path: Path, choose: Callable[[Sequence[str]], str]) -> Pictures:
    """Read and decode the images of a ``.zip``; see `sources.read_pictures`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(path, archive, choose)
    except SonoforgeError:
        raise
    except Exception as error:  # hostile bytes may fail in any way
        reason = " ".join(str(error).split())[:120]
        raise SonoforgeError(f"{path}: not a readable .zip ({reason}); pack it again without a password") from error


def _read_archive(path: Path, archive: zipfile.ZipFile, choose: Callable[[Sequence[str]], str]) -> Pictures:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    for info in infos:
        if info.filename.startswith("/") or ".." in info.filename.split("/") or re.search(r"[\\:\0]", info.filename):
            raise SonoforgeError(f"{path}: found the entry {info.filename!r}, expected paths inside the archive only")
    size = sum(info.file_size for info in infos)
    if len(infos) > MOST_ENTRIES or size > MOST_BYTES:
        raise SonoforgeError(
            f"{path}: found {len(infos)} files of {size / 1e9:.1f} GB, expected at most {MOST_ENTRIES} files and "
            f"{MOST_BYTES / 1e9:g} GB; give fewer images"
        )
    places = {info.filename: PurePosixPath(info.filename) for info in infos}
    visible = {name: p for name, p in places.items() if not any(part.startswith((".", "__")) for part in p.parts)}
    images = sorted((name for name in visible if is_image(visible[name].name)), key=natural_order)
    stems = {str(visible[name].with_suffix("")) for name in images}
    images = [name for name in images if not is_mask(str(visible[name].with_suffix("")), stems)]
    if not images:
        raise SonoforgeError(f"{path}: found no images, expected at least one ({', '.join(sorted(IMAGE_SUFFIXES))})")
    classes = sorted({visible[name].parent.name for name in images}, key=natural_order)
    shown = choose(classes) if len(classes) > 1 else ""
    images = [name for name in images if shown in ("", visible[name].parent.name)]
    manifest = parse_manifest(archive.read(MANIFEST)) if MANIFEST in visible else {}
    entries = [_zip_entry(path, archive, name) for name in images]
    return decode_all(str(path), entries, shown, manifest)


def _zip_entry(path: Path, archive: zipfile.ZipFile, name: str) -> Entry:
    place = f"{path}: {name}"

    def read() -> tuple[Image.Image, bool]:
        size = archive.getinfo(name).file_size
        if size > limits.MAX_FILE_BYTES:
            raise SonoforgeError(f"{place}: found {size / 1e6:.0f} MB, too large for an image")
        try:
            content = archive.read(name)
            return decoding.decode_image(content, place), says_generated(io.BytesIO(content))
        except SonoforgeError:
            raise
        except Exception as error:  # hostile bytes: any error of the archive or a decoder is the file's fault
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise SonoforgeError(f"{place}: cannot be unpacked and decoded ({reason}); pack it again") from error

    return Entry(name, None, read)


def read_npz(path: Path) -> Pictures:
    """Read the array ``images`` of an ``.npz``; see `sources.read_pictures`."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MOST_BYTES:
            raise SonoforgeError(f"{path}: found {size / 1e9:.1f} GB, expected at most {MOST_BYTES / 1e9:g}")
        with np.load(path, allow_pickle=False) as arrays:
            if "images" not in arrays:
                raise SonoforgeError(f"{path}: found the arrays {', '.join(arrays.files)}, expected one called images")
            images, told = arrays["images"], str(arrays["manifest"]) if "manifest" in arrays else ""
    except SonoforgeError:
        raise
    except Exception as error:  # hostile bytes may fail in any way
        reason = " ".join(str(error).split())[:120]
        raise SonoforgeError(f"{path}: not a plain numpy archive ({reason}); write it with numpy.savez") from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise SonoforgeError(
            f"{path}: images: found {images.dtype} {images.shape}{_oddity(images)}, expected uint8 (N, S, S, 1) or "
            "(N, S, S, 3) with levels 0 to 255; save it so"
        )
    grey = [bool((image == image[..., :1]).all()) for image in images]
    pictures = [image[..., :1] if flat else image for image, flat in zip(images, grey, strict=True)]
    manifest = parse_manifest(told)
    names = [f"{index:05d}" for index in range(len(images))]
    return Pictures(pictures, names, [None] * len(names), str(manifest.get("class", "")), manifest.get("synthetic"))


def _oddity(images: np.ndarray[Any, Any]) -> str:
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        return " with NaN or infinity"
    return ""

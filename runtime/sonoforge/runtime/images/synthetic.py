"""Write generated images, each of which states that it is synthetic and where it comes from."""

import contextlib
import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sonoforge.runtime.atomic import replacing, write_bytes
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.runtime.images.plain_image import encoded
from sonoforge.runtime.urls import clear_errors, open_url

Pixels = NDArray[np.uint8]

HALF = 128
"""Lowest level of a mask's pixel that counts as inside."""
MANIFEST = "manifest.json"
NOTICE = "Synthetic image made by a neural network; it shows no patient."
_AT_ONCE = 64  # files that are sent to a URL together
_OF_THE_FILES = ("count", "notice", "images")  # keys of the manifest that are not the origin


def png_text(origin: Mapping[str, object]) -> PngInfo:
    """Return the text that every PNG of generated images carries: `NOTICE`, and its origin."""
    text = PngInfo()
    text.add_text("Description", NOTICE)
    text.add_text("Software", "sonoforge gan sample")
    for key, value in origin.items():
        text.add_itxt(f"sonoforge:{key}", json.dumps(value) if isinstance(value, bool) else str(value))
    return text


def origin_of(about: Any, sha256: str, class_name: str, seed: int) -> dict[str, Any]:
    """Return the origin of generated images, which their manifest and every file record.

    ``about`` is the description of a checkpoint or the manifest of a bundle, ``sha256`` the generator's hash.
    """
    return {
        "synthetic": True,
        "generator_sha256": sha256,
        "recipe": about.recipe,
        "class": class_name,
        "step": about.step,
        "seed": seed,
        "training_data": about.fingerprint,
        **({"structures": ",".join(about.structures)} if about.structures else {}),
    }


def as_picture(pixels: Pixels) -> Image.Image:
    """Turn (H, W, 1) or (H, W, 3) uint8 into a Pillow image."""
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


def to_pixels(images: NDArray[np.float32]) -> Pixels:
    """Map (N, C, S, S) float -1..1 to (N, S, S, C) uint8, rounded to the nearest."""
    levels = np.clip(np.rint((images.astype(np.float32) + 1) * np.float32(127.5)), 0, 255)
    return np.ascontiguousarray(levels.astype(np.uint8).transpose(0, 2, 3, 1))


def split_masks(pixels: Pixels, image_channels: int) -> tuple[Pixels, Pixels | None]:
    """Split samples (N, S, S, C) uint8 into images and masks (or None), cut by `cut_structures`."""
    masks = pixels[..., image_channels:]
    return pixels[..., :image_channels], cut_structures(masks) if masks.shape[3] else None


def cut_structures(levels: Pixels) -> Pixels:
    """Give each pixel of (..., K) uint8 levels to one structure (255) or to the background (0 in all).

    The background's level is 255 minus the structures' levels; ties go to the first structure.
    """
    if levels.shape[-1] == 1:
        return cut_masks(levels)
    left = 255 - levels.sum(-1, dtype=np.int32)
    strongest = np.where(levels.max(-1) >= left, levels.argmax(-1), -1)
    return np.where(strongest[..., None] == np.arange(levels.shape[-1]), 255, 0).astype(np.uint8)


def cut_masks(levels: Pixels) -> Pixels:
    """Set levels of `HALF` or more to 255, others to 0."""
    return np.where(levels >= HALF, 255, 0).astype(np.uint8)


def png_bytes(pixels: Pixels, origin: Mapping[str, object]) -> bytes:
    """Encode (H, W, C) uint8 as a PNG that carries its origin as text."""
    return encoded(as_picture(pixels), pnginfo=png_text(origin))


@contextlib.contextmanager
def open_target(
    target: Path, origin: Mapping[str, object], count: int, image_channels: int
) -> Iterator[Callable[[Pixels], None]]:
    """Yield the function that writes generated images, batch by batch, to a file or folder.

    ``target`` is a folder of PNG files with ``manifest.json``; a ``.zip`` of one; or an ``.npz`` with ``images`` (N, S,
    S, C) uint8, ``masks`` (N, S, S, K) if there are any, and the manifest as text.  ``origin`` has at least ``class``
    and ``seed`` and, for masks of named structures, ``structures``: their names, separated by commas.

    Raises:
        SonoforgeError: The target holds something else or cannot be written.
    """
    with refusing(f"{target}: cannot be written", "make room or choose another target"):
        if target.suffix in (".zip", ".npz"):
            if target.exists():
                raise SonoforgeError(f"{target}: exists already; choose another target")
            with replacing(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                if target.suffix == ".zip":
                    yield from _pictures(archive.writestr, origin, image_channels)
                else:
                    yield from _arrays(archive, origin, count, image_channels)
        else:
            if target.exists() and not target.is_dir():
                raise SonoforgeError(f"{target}: is a file, not a folder for images; choose another target")
            manifest = (target / MANIFEST).read_bytes() if (target / MANIFEST).is_file() else b""
            _refuse_other_files(target, target.is_dir() and any(target.iterdir()), manifest, origin)
            yield from _pictures(lambda name, content: write_bytes(target / name, content), origin, image_channels)


@contextlib.contextmanager
def open_url_target(url: str, origin: Mapping[str, object], image_channels: int) -> Iterator[Callable[[Pixels], None]]:
    """Yield the function that writes generated images to a folder at a URL, as `open_target` does, the manifest last.

    Raises:
        SonoforgeError: The folder holds something else or cannot be written.
    """
    if url.endswith((".zip", ".npz")):
        raise SonoforgeError(f"--out {url}: a URL must point to a folder, not a file; leave out {url[-4:]}")
    files, root = open_url("--out", url)
    with clear_errors("--out", url):
        names = {path.rpartition("/")[2] for path in files.find(root)} if files.exists(root) else set()
        manifest = files.cat_file(f"{root}/{MANIFEST}") if MANIFEST in names else b""
        files.makedirs(root, exist_ok=True)
    _refuse_other_files(url, bool(names), manifest, origin)
    waiting: dict[str, bytes] = {}

    def put(name: str, content: bytes) -> None:
        waiting[f"{root}/{name}"] = content
        if len(waiting) < _AT_ONCE and name != MANIFEST:
            return
        with clear_errors("--out", url):
            last = waiting.pop(f"{root}/{MANIFEST}", None)
            files.pipe(waiting)
            waiting.clear()
            if last is not None:
                files.pipe_file(f"{root}/{MANIFEST}", last)

    yield from _pictures(put, origin, image_channels)


def _pictures(
    put: Callable[[str, bytes], Any], origin: Mapping[str, object], image_channels: int
) -> Iterator[Callable[[Pixels], None]]:
    entries: list[dict[str, Any]] = []
    label = re.sub(r"[/\\:\x00-\x1f]", "-", str(origin["class"])) or "image"
    names = [f"_{name}" for name in str(origin.get("structures", "")).split(",") if name]

    def write(pixels: Pixels) -> None:
        images, masks = split_masks(pixels, image_channels)
        for position, image in enumerate(images):
            index = len(entries)
            stem = f"synthetic-{label}-{origin['seed']}-{index:05d}"
            content = png_bytes(image, {**origin, "index": index})
            put(f"{stem}.png", content)
            entries.append({"file": f"{stem}.png", "index": index, "sha256": hashlib.sha256(content).hexdigest()})
            if masks is not None:
                own = np.split(masks[position], masks.shape[3], axis=2)
                named = [f"{stem}_mask{name}.png" for name in names] or [f"{stem}_mask.png"]
                for name, mask in zip(named, own, strict=True):
                    put(name, png_bytes(mask, {**origin, "index": index}))
                entries[-1] |= {"masks": named} if names else {"mask": named[0]}

    yield write
    manifest = {**origin, "count": len(entries), "notice": NOTICE, "images": entries}
    put(MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())


def _arrays(
    archive: zipfile.ZipFile, origin: Mapping[str, object], count: int, image_channels: int
) -> Iterator[Callable[[Pixels], None]]:
    """Write images to the archive at once; keep masks, at most a third of the bytes, until the end."""
    masks: list[Pixels] = []
    with contextlib.ExitStack() as stack:
        stream = None

        def write(pixels: Pixels) -> None:
            nonlocal stream
            images, own = split_masks(pixels, image_channels)
            if stream is None:
                stream = stack.enter_context(archive.open("images.npy", "w", force_zip64=True))
                shape = (count, *images.shape[1:])
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
            stream.write(images.tobytes())
            if own is not None:
                masks.append(own)

        yield write
    if masks:
        with archive.open("masks.npy", "w", force_zip64=True) as stream:
            np.lib.format.write_array(stream, np.concatenate(masks))
    manifest = json.dumps({**origin, "count": count, "notice": NOTICE}, indent=2)
    with archive.open("manifest.npy", "w") as stream:
        np.lib.format.write_array(stream, np.array(manifest), allow_pickle=False)


def _refuse_other_files(where: object, taken: bool, manifest: bytes, origin: Mapping[str, object]) -> None:
    """Refuse to mix generated images with real ones, or with another generator's, in one folder."""
    if not taken:
        return
    try:
        before = json.loads(manifest)
        same = {key: value for key, value in before.items() if key not in _OF_THE_FILES} == dict(origin)
    except (ValueError, AttributeError):
        same = False
    if not same:
        raise SonoforgeError(f"{where}: holds other files already; choose an empty folder")

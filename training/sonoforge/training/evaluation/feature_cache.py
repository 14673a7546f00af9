"""Feature vectors of images that were embedded before, kept in self-checking files.

A file holds the vectors of up to 512 images in their order.  Its name is a hash of all that they depend on (network,
weights, resize, library, device; shape and pixels of the images), so it is found again only where nothing has changed.
An interrupted run keeps its finished files.  A damaged file is made again.
"""

import hashlib
from pathlib import Path

import numpy as np

from sonoforge.runtime.cli.progress import Advance
from sonoforge.training.checked_file import read_checked, write_checked
from sonoforge.training.data.cache_settings import default_folder
from sonoforge.training.data.pixels import Pixels
from sonoforge.training.evaluation.spaces import Embedded, Space, joined

FOLDER = "features"
_CHUNK = 512  # images a file: what an interrupted run loses at most; whole batches


def embed_cached(
    space: Space, images: Pixels, cache_folder: Path | None = None, progress: Advance | None = None
) -> Embedded:
    """Embed images as ``space.embed`` does, or read the vectors of these very images from an earlier time.

    Raises:
        SonoforgeError: A file cannot be written.
    """
    if not space.cached:
        return space.embed(images, progress)
    folder = (cache_folder or default_folder()) / FOLDER
    parts = []
    for first in range(0, len(images), _CHUNK):
        chunk = images[first : first + _CHUNK]

        def advance(done: float, state: str | None, first: int = first) -> None:
            if progress is not None:
                progress(first + done, state)

        path = folder / f"{_key(space, chunk)}.bin"
        part = _read(path)
        if part is None:
            part = space.embed(chunk, advance)
            _write(path, part)
        else:
            advance(len(chunk), None)
        parts.append(part)
    return joined(parts)


def _key(space: Space, images: Pixels) -> str:
    digest = hashlib.sha256(f"{space.identity} {images.shape}".encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()


def _write(path: Path, embedded: Embedded) -> None:
    tables = [table for table in embedded if table is not None]
    write_checked(path, (table.astype("<f4") for table in tables), [table.shape for table in tables])


def _read(path: Path) -> Embedded | None:
    found = read_checked(path)
    if found is None:
        return None
    shapes, data = found
    features, *probabilities = np.split(data.view("<f4"), np.cumsum([np.prod(shape) for shape in shapes])[:-1])
    tables = [np.array(t).reshape(shape) for t, shape in zip((features, *probabilities), shapes, strict=True)]
    return Embedded(tables[0], tables[1] if len(tables) > 1 else None)

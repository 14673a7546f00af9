"""Each image embedded once, ever: feature vectors kept by what they were computed from.

One SQLite file, ``features.sqlite`` in the cache folder, holds a row for each image in each space.  A row's key is the
space's identity (network, weights, resize, library, device) and the sha256 of the image's shape and pixels, so that
nothing has to be told when images or weights change.  Processes may share the file; SQLite locks it.

Each row carries the hash of its vectors: a damaged row is embedded again.  A damaged file is removed with a warning
and made anew: it holds only what can be computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.cache import default_folder
from sonoforge.training.data.pixels import Pixels
from sonoforge.training.metrics.spaces import Embedded, Space
from sonoforge.training.progress import Advance

log = logging.getLogger(__name__)

FILE = "features.sqlite"
LARGEST = 4_000_000_000  # bytes of the file: 500 000 images in Inception's space
_KEPT = 0.75  # of LARGEST, once it is reached
_CHUNK = 512  # images embedded before they are written: what an interrupted run loses at most; whole portions
_PATIENCE = 60.0  # seconds to wait for another process's write
_DAY = 86_400

# The number in the table's name changes with what its columns mean.
_SCHEMA = """CREATE TABLE IF NOT EXISTS features_1 (
    space TEXT NOT NULL, image TEXT NOT NULL, classes INTEGER NOT NULL, vectors BLOB NOT NULL, hash BLOB NOT NULL,
    day INTEGER NOT NULL, PRIMARY KEY (space, image))"""


class _Row(NamedTuple):
    features: NDArray[np.float32]  # (D,)
    probabilities: NDArray[np.float32]  # (K,), K = 0 where the space has no classifier


def hash_images(images: Pixels) -> tuple[str, ...]:
    """Return the sha256 of each image's shape and pixels, for (N, S, S, C) uint8."""
    opening = repr(images.shape[1:]).encode()
    return tuple(hashlib.sha256(opening + np.ascontiguousarray(image).tobytes()).hexdigest() for image in images)


def embed_cached(
    space: Space, images: Pixels, cache_folder: Path | None = None, progress: Advance | None = None
) -> Embedded:
    """Embed images, computing only those that were never embedded in this space before; equal images once.

    Args:
        space: From `spaces.open_space`.
        images: (N, S, S, C) uint8, N >= 1.
        cache_folder: Where the file is; `cache.default_folder` where None.
        progress: Told the number of images that are done, cached ones included.

    Returns:
        What ``space.embed`` returns, to the last bit.

    Raises:
        SonoforgeError: The file cannot be opened or written.
    """
    if not space.cached:
        return space.embed(images, progress)
    path = (cache_folder or default_folder()) / FILE
    keys = hash_images(images)
    rows = _read(path, space.identity, keys)
    missing = {key: index for index, key in enumerate(keys) if key not in rows}
    wanted = list(missing)
    for first in range(0, len(wanted), _CHUNK):
        chunk = wanted[first : first + _CHUNK]
        done = len(keys) - len(wanted) + first

        def advance(count: int, state: str | None, done: int = done) -> None:
            if progress is not None:
                progress(done + count, state)

        found = space.embed(images[[missing[key] for key in chunk]], advance)
        none = np.empty((len(chunk), 0), np.float32)
        fresh = map(_Row, found.features, none if found.probabilities is None else found.probabilities)
        made = dict(zip(chunk, fresh, strict=True))
        _write(path, space.identity, made)
        rows |= made
    if progress is not None:
        progress(len(keys), None)
    probabilities = np.stack([rows[key].probabilities for key in keys])
    return Embedded(np.stack([rows[key].features for key in keys]), probabilities if probabilities.size else None)


def _read(path: Path, space: str, keys: Sequence[str]) -> dict[str, _Row]:
    """Return the sound rows of these images."""
    if not path.is_file():
        return {}
    rows, damaged, today = {}, 0, int(time.time()) // _DAY
    with _repaired(path), _opened(path) as base:
        stale = []
        select = "SELECT classes, vectors, hash, day FROM features_1 WHERE space = ? AND image = ?"
        for key in dict.fromkeys(keys):
            for classes, vectors, digest, day in base.execute(select, (space, key)):
                if not isinstance(vectors, bytes) or _digest(key, classes, vectors) != digest:
                    damaged += 1
                    continue
                values = np.frombuffer(vectors, "<f4").astype(np.float32)
                rows[key] = _Row(values[: len(values) - classes], values[len(values) - classes :])
                if day != today:
                    stale.append((today, space, key))
        with base:
            base.executemany("UPDATE features_1 SET day = ? WHERE space = ? AND image = ?", stale)
    if damaged:
        log.warning("%s: %d damaged rows; their images are embedded again", path, damaged)
    return rows


def _write(path: Path, space: str, rows: dict[str, _Row]) -> None:
    """Keep new rows, all or none of them."""
    today = int(time.time()) // _DAY
    values = []
    for key, row in rows.items():
        vectors = np.concatenate(row).astype("<f4").tobytes()
        classes = len(row.probabilities)
        values.append((space, key, classes, vectors, _digest(key, classes, vectors), today))
    for _ in range(2):  # once more where the file was damaged and is now gone
        with _repaired(path), _opened(path) as base:
            with base:
                base.executemany("INSERT OR REPLACE INTO features_1 VALUES (?, ?, ?, ?, ?, ?)", values)
            _shrink(base)
            return


def _shrink(base: sqlite3.Connection) -> None:
    """Drop the vectors that were not asked for the longest, where there are too many."""
    (page,), (pages,), (free,) = (
        base.execute(f"PRAGMA {name}").fetchone() for name in ("page_size", "page_count", "freelist_count")
    )
    used = page * (pages - free)
    if used <= LARGEST:
        return
    with base:
        (count,) = base.execute("SELECT count(*) FROM features_1").fetchone()
        surplus = round(count * (1 - _KEPT * LARGEST / used))
        base.execute(
            "DELETE FROM features_1 WHERE rowid IN (SELECT rowid FROM features_1 ORDER BY day, rowid LIMIT ?)",
            (surplus,),
        )
    log.info("dropped the %d oldest of %d kept feature vectors", surplus, count)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path, timeout=_PATIENCE)) as base:
        base.execute(_SCHEMA)
        yield base


@contextlib.contextmanager
def _repaired(path: Path) -> Iterator[None]:
    """Turn what may go wrong with the file into a warning (damaged: it is removed) or one line (anything else)."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
        # The plain DatabaseError is: malformed, or no data base at all.  Text that is no text is damage, too.
        if type(error) not in (sqlite3.DatabaseError, UnicodeDecodeError):
            raise SonoforgeError(
                f"{path}: the cache of feature vectors cannot be used ({error}); remove the file, "
                "or name another folder with --cache"
            ) from error
        log.warning("%s: damaged (%s); it is removed, and its images are embedded again", path, error)
        for suffix in ("-journal", ""):  # a journal must never be played into a file it is not of
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def _digest(key: str, classes: int, vectors: bytes) -> bytes:
    return hashlib.sha256(f"{key} {classes} ".encode() + vectors).digest()

"""Keep what was found in a set beside its decoded images, so that no later run searches again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sonoforge.runtime import atomic
from sonoforge.runtime.images.decoding import read_image
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.progress import is_interactive, progress_bar
from sonoforge.training.second_opinion.copies import Copies, Groups, Match, find_copies
from sonoforge.training.second_opinion.pose_search import Picture, shrink

log = logging.getLogger(__name__)


def recall_copies(cache: ImageCache, groups: Groups, folder: Path) -> Copies:
    """Return what `find_copies` finds in a set, from an earlier search where one answers the same question.

    A search answers for its images in their order, and for groups (N,) that join at least what its own joined: it
    compared every pair that is still apart.

    Args:
        cache: The images.
        groups: (N,) group of each.
        folder: That of decoded images; what is found is kept in ``second-opinion`` below it.
    """
    path = folder / "second-opinion" / f"{_key(cache)}.json"
    known = _read(path, groups)
    if known is None:
        log.info("second opinion: comparing every image with those of other groups")
        with progress_bar("second opinion", 2 * len(groups), show=is_interactive()) as advance:
            known = find_copies(read_pictures(cache), groups, lambda done: advance(done, None))
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [match._replace(matrix=match.matrix.tolist()) for match in known.matches]
        atomic.write_json(path, {"groups": groups.tolist(), **known._replace(matches=rows)._asdict()})
    apart = [match for match in known.matches if groups[match.query] != groups[match.key]]
    return known._replace(matches=apart)


def read_pictures(cache: ImageCache) -> list[Picture]:
    """Read the images once more, grey, in their own proportions and not squeezed to squares."""

    def read(name: str) -> Picture:
        return shrink(np.asarray(read_image(cache.dataset.root / name).convert("L")))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(read, [item.path for item in cache.dataset.items]))


def _key(cache: ImageCache) -> str:
    """Name the images and the method: its very source, so that no answer outlives the method that gave it."""
    digest = hashlib.sha256(cv2.__version__.encode())
    for name in ("pose_search.py", "alignment.py", "copies.py"):
        digest.update(Path(__file__).with_name(name).read_bytes())
    digest.update("\n".join(cache.hashes).encode())
    return digest.hexdigest()[:32]


def _read(path: Path, groups: Groups) -> Copies | None:
    """Read an earlier search; None where there is none for these groups, or it is damaged."""
    try:
        known: dict[str, Any] = json.loads(path.read_bytes())
        before = np.array(known.pop("groups"))
        # Coarser groups: each earlier one lies inside one of now.
        if len(np.unique(np.stack((before, groups)), axis=1)[0]) != len(np.unique(before)):
            return None
        rows = known.pop("matches")
        return Copies([Match._make((*row[:-1], np.array(row[-1]))) for row in rows], **known)
    except (OSError, ValueError, KeyError, TypeError):
        return None

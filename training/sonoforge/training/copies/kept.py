"""Keep what was found in a set beside its decoded images, so that no later run searches again."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sonoforge.runtime import atomic
from sonoforge.training.copies.pictures import Picture
from sonoforge.training.copies.pose_search import shrink
from sonoforge.training.copies.second_search import Copies, Groups, Match, find_copies
from sonoforge.training.progress import is_shown, progress_bar

log = logging.getLogger(__name__)


def recall_copies(pictures: Sequence[Picture], hashes: Sequence[str], store: Path | None, groups: Groups) -> Copies:
    """Return what `find_copies` finds in a set, from an earlier search where one answers the same question.

    What is found is kept in ``second-opinion`` below the store.

    A search answers for its images in their order, and for groups (N,) that join at least what its own joined: it
    compared every pair that is still apart.

    Args:
        pictures: N grey (H, W) uint8 pictures.
        hashes: Content hash of each.
        store: Folder that keeps what was found; None: found anew.
        groups: (N,) group of each.
    """
    path = store / "second-opinion" / f"{_key(hashes)}.json" if store else None
    known = _read(path, groups) if path else None
    if known is None:
        log.info("second opinion: comparing every image with those of other groups")
        with progress_bar("second opinion", 2 * len(groups), show=is_shown()) as advance:
            shrunk = [shrink(picture) for picture in pictures]
            known = find_copies(shrunk, groups, lambda done: advance(done, None))
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [match._replace(matrix=match.matrix.tolist()) for match in known.matches]
            atomic.write_json(path, {"groups": groups.tolist(), **known._replace(matches=rows)._asdict()})
    apart = [match for match in known.matches if groups[match.query] != groups[match.key]]
    return known._replace(matches=apart)


def _key(hashes: Sequence[str]) -> str:
    """Name the images and the method: its very source, so that no answer outlives the method that gave it."""
    digest = hashlib.sha256(cv2.__version__.encode())
    for name in ("pose_search.py", "pose_alignment.py", "second_search.py"):
        digest.update(Path(__file__).with_name(name).read_bytes())
    digest.update("\n".join(hashes).encode())
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

"""What a search found, kept beside the decoded images, so that no later command searches again."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from sonoforge.training.checked_file import read_checked, write_checked
from sonoforge.training.copies.matches import Matches


class Found(NamedTuple):
    """The answer of a search."""

    matches: Matches
    facts: Any = None  # what else it says, as JSON holds it


def find_once(
    store: Path | None,
    search: str,
    asked: Iterable[str],
    find: Callable[[], Found],
    still_answers: Callable[[Found], bool] = lambda found: True,
) -> Found:
    """Return what was found at an earlier time, or find it now.

    Args:
        store: Folder that keeps what is found; None: found anew.
        search: Name of the search with its version.  OpenCV's version counts, too: other features, another answer.
        asked: What it depends on: hashes of the images, in their order.
        find: Searches.
        still_answers: Whether a kept answer does for what is asked now.
    """
    if store is None:
        return find()
    name = hashlib.sha256("\n".join(asked).encode()).hexdigest()[:32]
    path = store / f"{search}-opencv{cv2.__version__}" / f"{name}.bin"
    known = read_checked(path)
    if known is not None:
        found = Found(Matches.unpack(np.frombuffer(known[1].tobytes(), np.float64)), known[0])
        if still_answers(found):
            return found
    found = find()
    write_checked(path, [found.matches.packed], found.facts)
    return found

"""Whether the run that generators start from was trained on an image of this data set, copies included."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sonoforge.runtime.errors import GateError, SonoforgeError, name_some
from sonoforge.training.copies.signatures import make_signatures, recognise_once
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.gan.checkpoint import describe, digest_of_images, find_checkpoint, trained_on
from sonoforge.training.gan.training import SOURCES
from sonoforge.training.phantom import PHANTOM_IMAGES
from sonoforge.training.run_folder import read_config

log = logging.getLogger(__name__)


def refuse_seen_by_start(start_from: str, cache: ImageCache, cache_folder: Path) -> None:
    """Refuse to start generators from a run that was trained on images of this data set, changed or not.

    The run's images are read again from where it read them; about 45 core-milliseconds for each image of either set the
    first time, after which the answer is kept beside the decoded images.  A file of weights is not looked at.

    Raises:
        GateError: It was trained on some of them; names the first.
        SonoforgeError: Its images cannot be read any more.
    """
    while start_from and Path(start_from).is_dir():
        checkpoint = find_checkpoint(Path(start_from))
        run = checkpoint.parent.parent
        theirs, trained = _read_trained(run, trained_on(checkpoint), cache_folder)
        seen = _find_seen(theirs, trained, cache)
        if seen:
            ours, other = cache.dataset.items, theirs.dataset.items
            named = name_some((f"{ours[own].path} ~ {other[index].path}" for own, index in seen), "; ")
            raise GateError(
                f"--gan-start-from: {run} was trained on {len(seen)} of these {len(cache.hashes)} images or on other "
                f"versions of them, so any figure on them would be leaked ({named}); start from a run on "
                "other collections"
            )
        log.info("%s was trained on %d images, none of them among these %d", run, len(trained), len(cache.hashes))
        start_from = str(read_config(run).get("start_from") or "")
        said = describe(checkpoint).settings.get("start_from", "")
        if bool(said) != bool(start_from):
            raise SonoforgeError(
                f"--gan-start-from: {run} started from {said or 'nothing'} as its checkpoint says, found "
                f"{start_from or 'nothing'} in its config.yaml; put the run's own file back"
            )
        if start_from and not Path(start_from).exists():
            raise SonoforgeError(f"--gan-start-from: {run} started from {start_from}, which is gone; put it back")


def _read_trained(run: Path, images: str, cache_folder: Path) -> tuple[ImageCache, list[int]]:
    """Read a run's data set, and return the indices of the images that the run was trained on.

    ``images``: `digest_of_images` of these, as the checkpoint says.
    """
    config = read_config(run)
    given: Any = config.get("data")
    if not given:
        raise SonoforgeError(
            f"--gan-start-from: {run} has no config.yaml that names its images; they cannot be compared"
        )
    data = tuple(given) if isinstance(given, list) else (str(given),)
    cache = load_images(ImageSource(data, PHANTOM_IMAGES, 0, cache_folder, fewest_classes=1))
    try:
        hashes = set(json.loads((run / SOURCES).read_text(encoding="utf-8")).values())
    except (OSError, ValueError, AttributeError) as error:
        raise SonoforgeError(f"--gan-start-from: {run / SOURCES} cannot be read, which names its images") from error
    if digest_of_images(hashes) != images:
        raise SonoforgeError(
            f"--gan-start-from: {run / SOURCES} names other images than the checkpoint was trained on, expected those; "
            "put the run's own file back"
        )
    missing = len(hashes - set(cache.hashes))
    if missing or not hashes:
        raise SonoforgeError(
            f"--gan-start-from: {run} was trained on {len(hashes)} images, of which {missing} are no longer in "
            f"{', '.join(data)}, so they cannot be compared; put them back"
        )
    return cache, [index for index, digest in enumerate(cache.hashes) if digest in hashes]


def _find_seen(theirs: ImageCache, trained: Sequence[int], cache: ImageCache) -> list[tuple[int, int]]:
    """Return pairs of an image of ours and the one of theirs that it shows, in our order."""
    places = {theirs.hashes[index]: index for index in trained}
    found = {index: places[digest] for index, digest in enumerate(cache.hashes) if digest in places}
    if found:
        return sorted(found.items())  # one is enough: no search for copies
    matches = recognise_once(
        cache.store,
        lambda: make_signatures([theirs.pictures[index] for index in trained]),
        [theirs.hashes[index] for index in trained],
        cache.pictures,
        cache.hashes,
    )
    return [(match.second, trained[match.first]) for match in matches]

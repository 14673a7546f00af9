"""Open a data set by its name: a folder of images, or the built-in phantom set."""

import hashlib
import logging
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.folders import is_black_and_white
from sonoforge.runtime.images.preprocessing import IMAGENET, Preprocessing
from sonoforge.training.data.cache import ImageCache, open_cache
from sonoforge.training.data.data_option import PHANTOM
from sonoforge.training.data.datasets import Dataset, read_dataset
from sonoforge.training.data.patients import grouped
from sonoforge.training.data.pooled import read_collections

log = logging.getLogger(__name__)


class ImageSource(NamedTuple):
    """Where images come from; small enough to pass to another process."""

    # A folder, zip or table, or several; files that list folders (see `pooled`); or `phantom` alone.
    data: tuple[str, ...]
    images: int  # number of phantom images
    seed: int
    cache: Path  # folder of decoded images, see `cache_settings`
    preprocessing: Preprocessing = IMAGENET  # how they are cropped and resized
    fewest_classes: int = 2  # 1 for what needs no labels
    groups_from: str = ""  # pattern that gives the patients, see `patients`; empty: those of groups.csv alone


def load_images(source: ImageSource) -> ImageCache:
    """Open a data set's decoded images.

    Raises:
        SonoforgeError: The folder holds no data set.
    """
    if source.data != PHANTOM:
        dataset = read_collections([*map(Path, source.data)], source.fewest_classes, source.cache)
        return _open(source, grouped(dataset, source.groups_from) if source.groups_from else dataset)
    # The simulator needs SciPy, which a folder of images does not.
    from sonoforge.training.phantom.dataset import generate_phantom_set, write_phantom_set  # noqa: PLC0415

    # Another version of the simulator draws another first picture, so it never finds an old set.
    first = next(iter(generate_phantom_set(source.images, source.seed)))
    digest = hashlib.sha256(first.pixels.tobytes()).hexdigest()[:8]
    root = source.cache / f"phantom-{source.images}-{source.seed}-{digest}"
    if not (root / "groups.csv").is_file():
        try:
            write_phantom_set(root, source.images, source.seed)
        except SonoforgeError:
            if not (root / "groups.csv").is_file():
                raise
            # Another process was faster, and its set is the same: what it reads must not be replaced.
    return _open(source, read_dataset(root))


def _open(source: ImageSource, dataset: Dataset) -> ImageCache:
    cache = open_cache(dataset, source.preprocessing.size, source.cache, source.preprocessing.crop)
    flat = [i for i, picture in enumerate(cache.pictures) if is_black_and_white(picture)]
    if flat:
        log.warning(
            "%s: %d of %d images hold black and white alone, as masks do, such as %s; take masks out",
            dataset.name,
            len(flat),
            len(cache.pictures),
            cache.dataset.items[flat[0]].path,
        )
    return cache


def find_simulated(dataset: Dataset) -> set[int]:
    """Return the indices of images whose file says that `write_phantom_set` made it; others may be simulated, too."""
    from sonoforge.training.phantom.dataset import MARKER  # noqa: PLC0415 - see above

    found = set()
    for index, item in enumerate(dataset.items):
        if item.path.lower().endswith(".png"):
            try:
                with Image.open(dataset.file(item.path)) as image:
                    if image.info.get("Description") == MARKER:
                        found.add(index)
            except OSError:
                continue  # gone since it was decoded
    return found

"""The real images of an evaluation, as a training at the same size sees them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.runtime.images.synthetic import as_picture
from sonoforge.training.data.cache import open_cache
from sonoforge.training.evaluation.generated_images import is_run
from sonoforge.training.evaluation.image_set import Described, StoredSet, describe
from sonoforge.training.evaluation.pictures import check_unreadable, says_generated
from sonoforge.training.evaluation.sources import (
    absent,
    check_class,
    find_images,
    open_phantom,
    read_manifest,
    read_pictures,
)

log = logging.getLogger(__name__)

TRAINING_SIZE = 224  # of the image cache; trainings at smaller sizes reduce it further


def read_real(source: str, class_name: str, generated: str, size: int, cache_folder: Path | None) -> StoredSet:
    """Read real images as a training does (`gan.batches.training_set.read_training_set`), before ``prepare_images``.

    Args:
        source: ``phantom``, a folder of images or of class folders, a ``.zip`` of either, or an ``.npz``.
        class_name: The class to take; empty for the one that the generated images show.
        generated: That class; empty where it is unknown.
        size: Common side S, pixels.
        cache_folder: Of decoded images; `cache_settings.default_folder` where None.

    Raises:
        SonoforgeError: No such images or class, too many that cannot be read, or generated ones.
    """
    path = Path(source)
    if source != "phantom" and not path.exists():
        raise absent(source)
    if is_run(path):
        raise SonoforgeError(
            f"{source}: found a run of sonoforge gan train as REAL, expected real images; it may be FAKE"
        )

    def choose(classes: Sequence[str]) -> str:
        return _choose_class(source, class_name, generated, classes)

    if source != "phantom" and path.is_file():
        return _read_archive(path, choose, size)
    cache = open_phantom(cache_folder) if source == "phantom" else open_cache(find_images(path), folder=cache_folder)
    if size > cache.size:
        cache = open_cache(cache.dataset, size, cache_folder)
    dataset = cache.dataset
    check_unreadable(source, len(cache.hashes) + len(cache.unreadable), cache.unreadable)
    shown = choose(dataset.classes) if len(dataset.classes) > 1 else ""
    chosen = [i for i, item in enumerate(dataset.items) if shown in ("", dataset.classes[item.label])]
    if source != "phantom":
        files = [dataset.items[index].path for index in chosen]
        said = [file for file in files if _file_says_generated(dataset.file(file))]
        _refuse_generated(source, len(files), said, read_manifest(path).get("synthetic"))
    described = [
        Described(
            name=dataset.items[index].path,
            content=cache.hashes[index],
            picture=cache.pictures[index],
            size=(int(cache.sizes[index, 0]), int(cache.sizes[index, 1])),
            group=dataset.items[index].group,
        )
        for index in chosen
    ]
    return StoredSet(list(cache.images[chosen]), described, shown, store=cache.store)


def _read_archive(path: Path, choose: Callable[[Sequence[str]], str], size: int) -> StoredSet:
    pictures = read_pictures(path, choose)
    _refuse_generated(str(path), len(pictures.images), pictures.generated, pictures.synthetic)
    resize = Preprocessing(size=max(size, TRAINING_SIZE)).resize
    return describe(pictures)._replace(images=[resize(as_picture(image)) for image in pictures.images])


def _choose_class(source: str, class_name: str, generated: str, classes: Sequence[str]) -> str:
    """Return the class that was asked for, or the one that the generated images show; empty for all."""
    if class_name:
        check_class(source, class_name, classes)
        if generated not in ("", class_name):
            log.warning("FAKE says that it shows %s, and is compared with real images of %s", generated, class_name)
        return class_name
    if generated and generated not in classes:
        raise SonoforgeError(
            f"{source}: found classes {', '.join(classes)}, but FAKE says that it shows {generated!r}; "
            "give the class to compare with, class_name"
        )
    if generated:
        log.info("%s: only its images of class %s, which FAKE says that it shows, are compared", source, generated)
    return generated


def _file_says_generated(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return says_generated(stream)
    except OSError:
        return False


def _refuse_generated(source: str, count: int, said: Sequence[str], manifest: bool | None) -> None:
    if said or manifest:
        what = f"{len(said)} of {count} images (first {said[0]}) say" if said else "its manifest says"
        raise SonoforgeError(f"{source}: {what} that they were generated, expected real images as REAL; name others")

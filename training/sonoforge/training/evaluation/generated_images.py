"""The generated images of an evaluation: files, or a generator that draws them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images import limits
from sonoforge.runtime.images.synthetic import split_masks
from sonoforge.training.data.pixels import Pixels
from sonoforge.training.evaluation.image_set import StoredSet, describe
from sonoforge.training.evaluation.pictures import Pictures
from sonoforge.training.evaluation.sources import check_class, read_pictures
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.generator import load_generator, sample_batches

log = logging.getLogger(__name__)


class Generated(NamedTuple):
    """Generated images, or what will generate them."""

    class_name: str  # what they show; empty where that is unknown
    side: int  # their own side S, pixels; 0 where their sizes differ and were allowed to
    load: Callable[[int], StoredSet]  # returns them; a generator draws as many as it is asked for


def is_run(path: Path) -> bool:
    """Whether a folder is a run or a checkpoint of ``sonoforge gan train``."""
    return (path / gan_checkpoint.DESCRIPTION).is_file() or (path / "checkpoints").is_dir()


def find_files(source: str, path: Path, class_name: str, any_size: bool) -> Generated:
    """Read images that were generated before; with ``any_size`` their sizes may differ, and sides be too short.

    Raises:
        SonoforgeError: They cannot be read, or not compared at their own size.
    """
    pictures = read_pictures(path, lambda classes: check_class(source, class_name, classes))
    if pictures.synthetic is False:
        log.warning("%s: its manifest says that these images are NOT generated", source)
    stored = describe(pictures)
    return Generated(stored.class_name, 0 if any_size else _own_side(source, stored), lambda count: stored)


def _own_side(source: str, stored: StoredSet) -> int:
    sizes = {image.size: image.name for image in reversed(stored.described)}
    first, *others = dict.fromkeys(image.size for image in stored.described)
    if others:
        raise SonoforgeError(
            f"{source}: found images of different sizes ({sizes[first]} has {first[0]}x{first[1]} pixels, "
            f"{sizes[others[0]]} {others[0][0]}x{others[0][1]}); give the size to compare at, image_size"
        )
    if first[0] != first[1]:
        raise SonoforgeError(
            f"{source}: found images of {first[0]}x{first[1]} pixels, expected squares; give image_size"
        )
    if first[0] < limits.MIN_SIDE:
        raise SonoforgeError(
            f"{source}: found images of {first[0]}x{first[1]} pixels, expected at least {limits.MIN_SIDE} a side; "
            "give image_size to enlarge them"
        )
    return first[0]


def find_generator(run: Path, which: str, class_name: str, seed: int, device: str) -> Generated:
    """Find the checkpoint that will draw the images, image i from (seed, i) alone.

    Raises:
        SonoforgeError: No such checkpoint or class.
    """
    checkpoint = gan_checkpoint.find_checkpoint(run, which)
    about = gan_checkpoint.describe(checkpoint)
    shown, label = about.class_name, None
    if about.classes:
        if not class_name:
            raise SonoforgeError(f"{checkpoint}: class_name is missing, expected one of {', '.join(about.classes)}")
        shown = check_class(str(checkpoint), class_name, about.classes)
        label = about.classes.index(shown)

    def generate(count: int) -> StoredSet:
        log.info("generating %d images with %s, seed %d", count, checkpoint, seed)
        images: list[Pixels] = []
        for pixels in sample_batches(load_generator(checkpoint, device), count, seed, label):
            images.extend(split_masks(pixels, about.image_channels)[0])
        names = [f"{index:05d}" for index in range(count)]
        return describe(Pictures(images, names, [None] * count, shown, synthetic=True))

    try:
        return Generated(shown, int(about.generator_options["image_size"]), generate)
    except (KeyError, TypeError, ValueError) as error:
        raise SonoforgeError(f"{checkpoint}: its description has no image size; use another checkpoint") from error

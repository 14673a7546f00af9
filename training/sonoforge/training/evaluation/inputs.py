"""The two sets that ``sonoforge evaluate REAL FAKE`` compares, brought to one size and one number of channels.

Real images are prepared as for a training, so that a generator is measured against the pixels that it learned from.
Generated images stay unchanged unless another size is given.  Whatever does not fit (mixed sizes, grey against colour,
generated images in place of real ones) is an error with its remedy, never adjusted silently.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.pixels import GREY_SHARE, Pixels
from sonoforge.training.evaluation.generated_images import Generated, find_files, find_generator, is_run
from sonoforge.training.evaluation.image_set import ImageSet, joined_sets, resized
from sonoforge.training.evaluation.real_images import TRAINING_SIZE, read_real
from sonoforge.training.evaluation.sources import absent, open_phantom

log = logging.getLogger(__name__)

_FILTER = "Pillow bilinear, antialiased, 8 bits"


@dataclass(frozen=True)
class EvaluationInput:
    """Where both sets come from, and how they are made comparable."""

    real: str  # `phantom`, a folder of images or of class folders, a `.zip` of either, or an `.npz` with `images`
    fake: str  # the same, or a run or checkpoint of `sonoforge gan train`, which then generates the images
    image_size: int | None = None  # common side S, pixels; None for that of the generated images
    channels: str = "auto"  # `"1"`, `"3"`, or `"auto"` for what both sets have, see `common_channels`
    class_name: str = ""  # class of the real images, and the one to generate; empty for the class that `fake` names
    count: int | None = None  # images to generate from a run; None for as many as there are real ones
    seed: int = 0  # of the generated images: image i depends on (seed, i) alone
    checkpoint: str = "last"  # of a run: `last`, `best` or a step
    cache_folder: Path | None = None  # of decoded real images; `cache_settings.default_folder` where None
    device: str = "cpu"  # that generates: `auto`, `cpu`, `cuda` or `cuda:N`


def read_image_sets(inputs: EvaluationInput) -> tuple[ImageSet, ImageSet]:
    """Read the real set and the generated one, and bring them to one size and kind.

    Raises:
        SonoforgeError: A set is missing, cannot be read, or the two cannot be compared.
    """
    generated = _find_generated(inputs)
    size = inputs.image_size or generated.side
    real = read_real(inputs.real, inputs.class_name, generated.class_name, size, inputs.cache_folder)
    fake = generated.load(inputs.count or len(real.images))
    for name, images in ((inputs.real, real.images), (inputs.fake, fake.images)):
        if len(images) < 2:
            raise SonoforgeError(f"{name}: found {len(images)} image, expected at least 2; add images")
    if inputs.channels == "auto":
        channels = common_channels(inputs.real, real.images, inputs.fake, fake.images)
    else:
        channels = int(inputs.channels)
    unchanged = all(image.size == (size, size) for image in fake.described)
    return (
        resized(inputs.real, real, size, channels, _training_resize(size)),
        resized(inputs.fake, fake, size, channels, "none" if unchanged else f"{_FILTER}, to {size}x{size}"),
    )


def _find_generated(inputs: EvaluationInput) -> Generated:
    fake, path = inputs.fake, Path(inputs.fake)
    if is_run(path):
        return find_generator(path, inputs.checkpoint, inputs.class_name, inputs.seed, inputs.device)
    if fake != "phantom" and not path.exists():
        raise absent(fake)
    for name, given in (("count", inputs.count is not None), ("checkpoint", inputs.checkpoint != "last")):
        if given:
            raise SonoforgeError(
                f"{name}: expected with a run of sonoforge gan train, but {fake} holds finished images; leave it out"
            )
    if fake == "phantom":
        path = open_phantom(inputs.cache_folder).dataset.root
    return find_files(fake, path, inputs.class_name, any_size=inputs.image_size is not None)


def read_held_out(source: str, real: ImageSet, cache_folder: Path | None = None) -> tuple[ImageSet, NDArray[np.int64]]:
    """Read real images that no generator saw, of the class of ``real`` and prepared as these are.

    Images that repeat a real one (near-duplicates, given groups) are left out, with a warning: a copy of the one would
    be a copy of the other.

    Returns:
        The images, and the group of each in the numbering of ``real.groups``, none of them one of these.

    Raises:
        SonoforgeError: Fewer than two are left, or they cannot be read.
    """
    size, channels = real.pixels.shape[2:]
    stored = read_real(source, real.class_name, "", size, cache_folder)
    return without_repeats(resized(source, stored, size, channels, _training_resize(size)), real)


def without_repeats(held_out: ImageSet, real: ImageSet) -> tuple[ImageSet, NDArray[np.int64]]:
    """Leave out what repeats a real image; see `read_held_out`.

    Raises:
        SonoforgeError: Fewer than two are left.
    """
    groups, source = joined_sets(real, held_out).groups, held_out.source
    own = ~np.isin(groups[len(real) :], groups[: len(real)])
    if own.sum() < 2:
        raise SonoforgeError(
            f"{source}: {(~own).sum()} of {len(own)} images repeat one of {real.source}, expected at least 2 that do "
            "not; hold images out that the generator was not trained on"
        )
    if not own.all():
        log.warning("%s: %d of %d images repeat real ones and are left out", source, (~own).sum(), len(own))
    kept = np.flatnonzero(own)
    return held_out.take(kept), groups[len(real) :][kept]


def _training_resize(size: int) -> str:
    cached = max(size, TRAINING_SIZE)
    return f"{_FILTER}, to {cached}x{cached}" + (f", then to {size}x{size}" if cached != size else "")


def common_channels(real: str, reals: Sequence[Pixels], fake: str, fakes: Sequence[Pixels]) -> int:
    """Return the number of channels that both sets, images (H, W, C) uint8 with C = 1 or 3, have.

    A set is grey where at least 90 % of its images are, as in training (`data.pixels.choose_channels`), and in colour
    where at least 90 % are; the others are then converted.

    Raises:
        SonoforgeError: One set is grey and the other in colour, or a set is mixed.
    """
    kinds = []
    for source, images in ((real, reals), (fake, fakes)):
        grey = sum(bool((image == image[..., :1]).all()) for image in images)
        if (1 - GREY_SHARE) * len(images) < grey < GREY_SHARE * len(images):
            raise SonoforgeError(
                f"{source}: found {grey} grey images and {len(images) - grey} in colour, expected all of one kind; "
                "give channels 1 to compare them as grey"
            )
        kinds.append(1 if grey >= GREY_SHARE * len(images) else 3)
    if kinds[0] != kinds[1]:
        words = {1: "grey", 3: "in colour"}
        raise SonoforgeError(
            f"{fake}: its images are {words[kinds[1]]}, those of {real} {words[kinds[0]]}; "
            "give channels 1 to compare both as grey"
        )
    return kinds[0]

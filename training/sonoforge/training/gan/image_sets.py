"""Bring the two sets that ``sonoforge evaluate REAL FAKE`` compares to one size and one number of channels.

Real images are prepared as for a training run, so that a generator is measured against the pixels that it learned from.
Generated images stay unchanged unless another size is given.  A mismatch (mixed sizes, grey against colour, generated
images in place of real ones) is an error with a remedy, never adjusted silently.
"""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.runtime.images import limits
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.runtime.images.synthetic import as_picture, split_masks
from sonoforge.runtime.inference.generator import find_label
from sonoforge.training.data.cache import default_folder, open_cache
from sonoforge.training.data.pixels import GREY_SHARE, Pixels
from sonoforge.training.data.unpacking import unpacked
from sonoforge.training.evaluation import image_set
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.generator import load_generator, sample_batches
from sonoforge.training.gan.options import ALL
from sonoforge.training.run_options import EvaluationInput

log = logging.getLogger(__name__)


class Generated(NamedTuple):
    """Generated images, or a generator that will draw them."""

    class_name: str  # their class; empty if unknown
    side: int  # their own side S, pixels; 0 for allowed different sizes
    load: Callable[[int], image_set.StoredSet]  # returns them; a generator draws the requested number


def is_run(path: Path) -> bool:
    """Whether a folder is a run or a checkpoint of ``sonoforge gan train``."""
    return (path / gan_checkpoint.DESCRIPTION).is_file() or (path / "checkpoints").is_dir()


def find_files(source: str, path: Path, class_name: str, any_size: bool, store: Path | None = None) -> Generated:
    """Read images that were generated earlier; with ``any_size`` their sizes may differ or be too small.

    Raises:
        SonoforgeError: They cannot be read, or cannot be compared at their own size.
    """
    stored = image_set.read_pictures(path, lambda classes: image_set.check_class(source, class_name, classes), store)
    if stored.declared is False:
        log.warning("%s: by its manifest these images are NOT generated", source)
    return Generated(stored.class_name, 0 if any_size else _own_side(source, stored), lambda count: stored)


def _own_side(source: str, stored: image_set.StoredSet) -> int:
    sizes = {image.size: image.name for image in reversed(stored.described)}
    first, *others = dict.fromkeys(image.size for image in stored.described)
    if others:
        raise SonoforgeError(
            f"{source}: has images of different sizes ({sizes[first]} has {first[0]}x{first[1]} pixels, "
            f"{sizes[others[0]]} {others[0][0]}x{others[0][1]}); give the size to compare at, image_size"
        )
    if first[0] != first[1]:
        raise SonoforgeError(
            f"{source}: its images have {first[0]}x{first[1]} pixels and are not square; give image_size"
        )
    if first[0] < limits.MIN_SIDE:
        raise SonoforgeError(
            f"{source}: its images have {first[0]}x{first[1]} pixels, fewer than {limits.MIN_SIDE} a side; give "
            "image_size to enlarge them"
        )
    return first[0]


def find_generator(run: Path, which: str, class_name: str, seed: int, device: str) -> Generated:
    """Find the checkpoint that will draw the images, image i from just (seed, i).

    Raises:
        SonoforgeError: The checkpoint or class does not exist.
    """
    checkpoint = gan_checkpoint.find_checkpoint(run, which)
    about = gan_checkpoint.describe(checkpoint)
    label = find_label(class_name, about.classes, about.class_name) if about.classes else None
    shown = about.class_name if label is None else about.classes[label]

    def generate(count: int) -> image_set.StoredSet:
        log.info("generating %d images with %s, seed %d", count, checkpoint, seed)
        images: list[Pixels] = []
        for pixels in sample_batches(load_generator(checkpoint, device), count, seed, label):
            images.extend(split_masks(pixels, about.image_channels)[0])
        return image_set.store_arrays(images, [f"{index:05d}" for index in range(count)], shown, declared=True)

    with refusing(f"{checkpoint}: its description has no image size", "use another checkpoint"):
        return Generated(shown, int(about.generator_options["image_size"]), generate)


TRAINING_SIZE = 224  # pixels: side in the image cache, from which smaller training runs are reduced


def read_real(
    source: str, class_name: str, generated: str, size: int, cache_folder: Path | None
) -> image_set.StoredSet:
    """Read real images as a training run does (`training_set.read_training_set`), before ``prepare_images``.

    Args:
        source: ``phantom``, a folder of images or of class folders, a ``.zip`` of either, or an ``.npz``.
        class_name: The class to take; empty for the generated images' class.
        generated: The class of the generated images; empty if unknown.
        size: Common side S, pixels.
        cache_folder: Folder of decoded images; `cache.default_folder` if None.

    Raises:
        SonoforgeError: The images or class do not exist, too many are unreadable, or some are generated.
    """
    path = Path(source)
    if source != "phantom" and not path.exists():
        raise image_set.absent(source)
    if is_run(path):
        raise SonoforgeError(
            f"{source}: a run of sonoforge gan train cannot be REAL; give real images, and the run as FAKE"
        )

    def choose(classes: Sequence[str]) -> str:
        return _choose_class(source, class_name, generated, classes)

    path = path if source == "phantom" else unpacked(path, cache_folder or default_folder())
    if source != "phantom" and path.is_file():
        stored = image_set.read_pictures(path, choose)
        _refuse_generated(source, len(stored.images), stored.generated, stored.declared)
        resize = Preprocessing(size=max(size, TRAINING_SIZE)).resize
        return stored._replace(images=[resize(as_picture(image)) for image in stored.images])
    cache = (
        image_set.open_phantom(cache_folder)
        if source == "phantom"
        else open_cache(image_set.find_images(path), folder=cache_folder)
    )
    if size > cache.size:
        cache = open_cache(cache.dataset, size, cache_folder)
    dataset = cache.dataset
    image_set.check_unreadable(source, len(cache.hashes) + len(cache.unreadable), cache.unreadable)
    shown = choose(dataset.classes) if len(dataset.classes) > 1 else ""
    chosen = [i for i, item in enumerate(dataset.items) if shown in ("", dataset.classes[item.label])]
    if source != "phantom":
        files = [dataset.items[index].path for index in chosen]
        said = [file for file in files if image_set.says_generated(dataset.file(file))]
        _refuse_generated(source, len(files), said, image_set.read_manifest(path).get("synthetic"))
    described = [
        image_set.Described(
            name=dataset.items[index].path,
            content=cache.hashes[index],
            picture=cache.pictures[index],
            size=(int(cache.sizes[index, 0]), int(cache.sizes[index, 1])),
            group=dataset.items[index].group,
        )
        for index in chosen
    ]
    return image_set.StoredSet(list(cache.images[chosen]), described, shown, store=cache.store)


def _choose_class(source: str, class_name: str, generated: str, classes: Sequence[str]) -> str:
    """Return the requested class, or the generated images' class; empty for all."""
    if (class_name or generated) == ALL and ALL not in classes:
        return ""
    if class_name:
        image_set.check_class(source, class_name, classes)
        if generated not in ("", class_name):
            log.warning("FAKE shows %s, but is compared with real images of %s", generated, class_name)
        return class_name
    if generated and generated not in classes:
        raise SonoforgeError(
            f"{source}: FAKE shows {generated!r}, which is not one of the classes {', '.join(classes)}; give class_name"
        )
    if generated:
        log.info("%s: only its images of class %s are compared, the class of FAKE", source, generated)
    return generated


def _refuse_generated(source: str, count: int, said: Sequence[str], manifest: bool | None) -> None:
    if said or manifest:
        what = f"{len(said)} of {count} images (first {said[0]}) are marked" if said else "its manifest marks them"
        raise SonoforgeError(f"{source}: {what} as generated, but REAL must be real images")


_FILTER = "Pillow bilinear, antialiased, 8 bits"


def check_named(inputs: EvaluationInput) -> None:
    """Refuse an evaluation without REAL, or with only real images.

    Raises:
        SonoforgeError: There is no REAL, or neither FAKE nor a run that provides both.
    """
    if not inputs.real:
        raise SonoforgeError("REAL is missing; see sonoforge evaluate --help")
    if not inputs.fake and not is_run(Path(inputs.real)):
        raise SonoforgeError(
            f"FAKE is missing: {inputs.real} is not a run of sonoforge gan train, which would not need it; see "
            "sonoforge evaluate --help"
        )


def read_image_sets(
    inputs: EvaluationInput, cache_folder: Path | None = None
) -> tuple[image_set.ImageSet, image_set.ImageSet]:
    """Read the real set and the generated one, and bring them to one size and kind.

    Decoded images are cached in ``cache_folder``, `cache.default_folder` if None.

    Raises:
        SonoforgeError: A set is missing or unreadable, or the two cannot be compared.
    """
    generated = _find_generated(inputs, cache_folder)
    size = inputs.image_size or generated.side
    real = read_real(inputs.real, inputs.class_name, generated.class_name, size, cache_folder)
    fake = generated.load(inputs.count or len(real.images))
    for name, images in ((inputs.real, real.images), (inputs.fake, fake.images)):
        if len(images) < 2:
            raise SonoforgeError(f"{name}: has {len(images)} image, fewer than 2; add images")
    if inputs.channels == "auto":
        channels = common_channels(inputs.real, real.images, inputs.fake, fake.images)
    else:
        channels = int(inputs.channels)
    unchanged = all(image.size == (size, size) for image in fake.described)
    return (
        image_set.resized(inputs.real, real, size, channels, _training_resize(size)),
        image_set.resized(inputs.fake, fake, size, channels, "none" if unchanged else f"{_FILTER}, to {size}x{size}"),
    )


def _find_generated(inputs: EvaluationInput, cache_folder: Path | None) -> Generated:
    fake, path = inputs.fake, Path(inputs.fake)
    if is_run(path):
        return find_generator(path, inputs.checkpoint, inputs.class_name, inputs.seed, inputs.device)
    if fake != "phantom" and not path.exists():
        raise image_set.absent(fake)
    for name, given in (("count", inputs.count is not None), ("checkpoint", inputs.checkpoint != "last")):
        if given:
            raise SonoforgeError(
                f"{name}: requires a run of sonoforge gan train, but {fake} holds finished images; leave it out"
            )
    if fake == "phantom":
        path = image_set.open_phantom(cache_folder).dataset.root
    return find_files(fake, path, inputs.class_name, any_size=inputs.image_size is not None, store=cache_folder)


def read_held_out(source: str, real: image_set.ImageSet, cache_folder: Path | None = None) -> image_set.HeldOut:
    """Read real images that no generator saw, of the class of ``real`` and prepared like it.

    Images that repeat a real one (near-duplicates, given groups) are left out with a warning: a copy of one would be a
    copy of the other.

    Raises:
        SonoforgeError: Fewer than two are left, or they cannot be read.
    """
    size, channels = real.pixels.shape[2:]
    stored = read_real(source, real.class_name, "", size, cache_folder)
    return without_repeats(image_set.resized(source, stored, size, channels, _training_resize(size)), real)


def without_repeats(held_out: image_set.ImageSet, real: image_set.ImageSet) -> image_set.HeldOut:
    """Leave out images that repeat a real one; see `read_held_out`.

    Raises:
        SonoforgeError: Fewer than two are left.
    """
    known = real.scans_known and held_out.scans_known
    both = dataclasses.replace(real, described=real.described + held_out.described, scans_known=known)
    groups, source = both.groups, held_out.source
    own = ~np.isin(groups[len(real) :], groups[: len(real)])
    if own.sum() < 2:
        raise SonoforgeError(
            f"{source}: {(~own).sum()} of {len(own)} images repeat one of {real.source}, so fewer than 2 are left; "
            "hold out images that the generator was not trained on"
        )
    if not own.all():
        log.warning("%s: %d of %d images repeat real ones and are left out", source, (~own).sum(), len(own))
    kept = np.flatnonzero(own)
    return image_set.HeldOut(held_out.take(kept), groups[len(real) :][kept], groups[: len(real)])


def _training_resize(size: int) -> str:
    cached = max(size, TRAINING_SIZE)
    return f"{_FILTER}, to {cached}x{cached}" + (f", then to {size}x{size}" if cached != size else "")


def common_channels(real: str, reals: Sequence[Pixels], fake: str, fakes: Sequence[Pixels]) -> int:
    """Return the common number of channels of both sets of images (H, W, C) uint8, C = 1 or 3.

    A set is grey if at least 90 % of its images are, as in training (`data.pixels.choose_channels`), and in colour if
    at least 90 % are; the others are then converted.

    Raises:
        SonoforgeError: One set is grey and the other in colour, or a set is mixed.
    """
    kinds = []
    for source, images in ((real, reals), (fake, fakes)):
        grey = sum(bool((image == image[..., :1]).all()) for image in images)
        if (1 - GREY_SHARE) * len(images) < grey < GREY_SHARE * len(images):
            raise SonoforgeError(
                f"{source}: mixes {grey} grey images with {len(images) - grey} in colour; give channels 1 to compare "
                "them as grey"
            )
        kinds.append(1 if grey >= GREY_SHARE * len(images) else 3)
    if kinds[0] != kinds[1]:
        words = {1: "grey", 3: "in colour"}
        raise SonoforgeError(
            f"{fake}: its images are {words[kinds[1]]}, those of {real} {words[kinds[0]]}; "
            "give channels 1 to compare both as grey"
        )
    return kinds[0]

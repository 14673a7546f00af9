"""The two sets that ``sonoforge evaluate REAL FAKE`` compares, brought to one size and one number of channels.

Real images take the very way they take into a training (`gan.training_set.read_training_set`), so that a generator is
measured against the pixels that it learned from.  Generated images stay as they are unless ``--image-size`` asks for
another size.  What is not as it should be (mixed sizes, grey against colour, generated images in the place of real
ones) is an error with its remedy, never adjusted in silence.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.runtime.images import decoding as imagefile
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.runtime.images.synthetic import as_picture, split_masks
from sonoforge.training.data.cache import ImageCache, open_cache
from sonoforge.training.data.duplicates import find_duplicates, join_groups
from sonoforge.training.data.fingerprints import content_hash, make_thumbnail
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.pixels import GREY_SHARE, Pixels, prepare_images
from sonoforge.training.evaluation.sources import (
    Pictures,
    check_class,
    check_unreadable,
    find_images,
    read_manifest,
    read_pictures,
    says_generated,
)
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.batches.training_set import PHANTOM_IMAGES
from sonoforge.training.gan.generator import load_generator, sample_batches

log = logging.getLogger(__name__)

_TRAINING_SIZE = 224  # of the image cache; trainings at smaller sizes reduce it further
_FILTER = "Pillow bilinear, antialiased, 8 bits"


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images at the common size and with the common channels.

    Attributes:
        source: As given on the command line.
        pixels: (N, S, S, C) uint8, C = 1 or 3.
        names: Of the files, or numbers.
        hashes: Content of each image at its own size, see `cache.ImageCache`.
        thumbnails: (N, 64, 64) uint8 grey, of the images at their own size.
        native_sizes: (N, 2) int64 width and height before resizing.
        given_groups: What ties images together by ``groups.csv``, or None.
        class_name: What they show; empty where nothing tells.
        synthetic: Whether the set says that it was generated; None where it says nothing.
        resize: How the images came to their size, in words.
        unreadable: Number of files that were left out.
    """

    source: str
    pixels: Pixels
    names: tuple[str, ...]
    hashes: tuple[str, ...]
    thumbnails: NDArray[np.uint8]
    native_sizes: NDArray[np.int64]
    given_groups: tuple[str | None, ...]
    class_name: str
    synthetic: bool | None
    resize: str
    unreadable: int

    def __len__(self) -> int:
        """Return the number N of images."""
        return len(self.pixels)

    @functools.cached_property
    def groups(self) -> NDArray[np.int64]:
        """(N,) group of each image: near-duplicates, equal contents and given groups are one (`splits.scan_groups`).

        Where all images share an outline, near-duplicates cannot be told and are left out, with a warning.
        """
        found = find_duplicates(self.thumbnails, self.hashes)
        first, second = [found.pairs.first], [found.pairs.second]
        if found.shares_layout:
            log.warning(
                "%s: the images share one outline; repeated scans cannot be told from the pictures", self.source
            )
            first, second = [], []
        for keys in (self.given_groups, self.hashes):
            seen: dict[str, int] = {}
            links = [(seen.setdefault(key, index), index) for index, key in enumerate(keys) if key is not None]
            pairs = np.array(links, dtype=np.int64).reshape(-1, 2)
            first.append(pairs[:, 0])
            second.append(pairs[:, 1])
        return join_groups(len(self), np.concatenate(first), np.concatenate(second))

    @functools.cached_property
    def fingerprint(self) -> str:
        """Sha256 of the pixels in their order: sets of equal fingerprints give equal figures."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()


class _Native(NamedTuple):
    """A set before its channels are chosen.

    Attributes:
        images: (H, W, C) uint8 each; of real images as the cache holds them.
        names: See `ImageSet`, as for the others.
        hashes: Contents.
        thumbnails: (N, 64, 64).
        sizes: (N, 2).
        groups: Given groups.
        class_name: What they show.
        synthetic: What the set says.
        unreadable: Number of files left out.
    """

    images: Sequence[Pixels]
    names: Sequence[str]
    hashes: Sequence[str]
    thumbnails: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    groups: Sequence[str | None]
    class_name: str
    synthetic: bool | None
    unreadable: int


class _Fakes(NamedTuple):
    """Generated images, or what will generate them.

    Attributes:
        class_name: What they show.
        side: Their own side S; 0 where they are of several and ``--image-size`` decides.
        load: Returns them; a run generates as many as it is told.
    """

    class_name: str
    side: int
    load: Callable[[int], _Native]


def read_image_sets(
    real: str,
    fake: str,
    *,
    image_size: int | None = None,
    channels: str = "auto",
    class_name: str = "",
    count: int | None = None,
    seed: int = 0,
    checkpoint: str = "last",
    cache_folder: Path | None = None,
    device: str = "cpu",
) -> tuple[ImageSet, ImageSet]:
    """Read both sets and bring them together.

    Args:
        real: ``phantom``, a folder of images or of class folders, a ``.zip`` of either, or an ``.npz`` with ``images``.
        fake: The same, or a run or checkpoint of ``sonoforge gan train``, from which images are then generated.
        image_size: Common side S; None for the side of the generated images.
        channels: ``"1"``, ``"3"``, or ``"auto"``: what both sets are, see `common_channels`.
        class_name: Class of the real images, and the one to generate; without it, the class that FAKE names.
        count: Images to generate from a run; None for as many as there are real ones.
        seed: Of the generated images: image i depends on (seed, i) alone.
        checkpoint: Of a run: ``last``, ``best`` or a step.
        cache_folder: Of decoded real images, see `cache.open_cache`.
        device: That generates: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns:
        The real set and the generated one.

    Raises:
        SonoforgeError: Something is missing, cannot be read, or the two sets cannot be compared.
    """
    if _is_run(Path(fake)):
        source = _find_run(Path(fake), checkpoint, class_name, seed, device)
    elif fake != "phantom" and not Path(fake).exists():
        raise _absent(fake)
    else:
        for flag, given in (("--count", count is not None), ("--checkpoint", checkpoint != "last")):
            if given:
                raise SonoforgeError(
                    f"{fake}: {flag} is for runs of sonoforge gan train, and these images are made; leave it out"
                )
        source = _find_images(fake, class_name, image_size, cache_folder)
    size = image_size or source.side
    reals = _read_real(real, class_name, source.class_name, size, cache_folder)
    fakes = source.load(count or len(reals.images))
    for name, images in ((real, reals.images), (fake, fakes.images)):
        if len(images) < 2:
            raise SonoforgeError(f"{name}: found {len(images)} image, expected at least 2; add images")
    common = common_channels(real, reals.images, fake, fakes.images, channels)
    own = bool((fakes.sizes == size).all())
    return (
        _finished(real, reals, size, common, _ways(size)),
        _finished(fake, fakes, size, common, "none" if own else f"{_FILTER}, to {size}x{size}"),
    )


def read_held_out(source: str, real: ImageSet, cache_folder: Path | None = None) -> tuple[ImageSet, NDArray[np.int64]]:
    """Read real images that no generator saw, as the real ones of a comparison were read.

    Images that repeat a real one (near-duplicates, given groups) are left out, with a warning: a copy of the one would
    be a copy of the other.

    Args:
        source: As ``real`` of `read_image_sets`; the same class is taken.
        real: The images that the generator was trained on.
        cache_folder: See `read_image_sets`.

    Returns:
        The images, and the group of each in the numbering of ``real.groups``, none of them one of these.

    Raises:
        SonoforgeError: Fewer than two are left, or they cannot be read.
    """
    size, channels = real.pixels.shape[2:]
    held_out = _finished(
        source, _read_real(source, real.class_name, "", size, cache_folder), size, channels, _ways(size)
    )
    both = joined_sets(real, held_out)
    own = ~np.isin(both.groups[len(real) :], both.groups[: len(real)])
    if own.sum() < 2:
        raise SonoforgeError(
            f"{source}: {(~own).sum()} of {len(own)} images repeat one of {real.source}, expected at least 2 that do "
            "not; hold images out that the generator was not trained on"
        )
    if not own.all():
        log.warning("%s: %d of %d images repeat real ones and are left out", source, (~own).sum(), len(own))
    kept = np.flatnonzero(own)
    chosen = dataclasses.replace(
        held_out,
        pixels=held_out.pixels[kept],
        names=tuple(held_out.names[index] for index in kept),
        hashes=tuple(held_out.hashes[index] for index in kept),
        thumbnails=held_out.thumbnails[kept],
        native_sizes=held_out.native_sizes[kept],
        given_groups=tuple(held_out.given_groups[index] for index in kept),
    )
    return chosen, both.groups[len(real) :][kept]


def joined_sets(first: ImageSet, second: ImageSet) -> ImageSet:
    """Put two sets of one size together, the first in front; named and described as the first."""
    return dataclasses.replace(
        first,
        pixels=np.concatenate([first.pixels, second.pixels]),
        names=first.names + second.names,
        hashes=first.hashes + second.hashes,
        thumbnails=np.concatenate([first.thumbnails, second.thumbnails]),
        native_sizes=np.concatenate([first.native_sizes, second.native_sizes]),
        given_groups=first.given_groups + second.given_groups,
        unreadable=first.unreadable + second.unreadable,
    )


def _ways(size: int) -> str:
    cached = max(size, _TRAINING_SIZE)
    return f"{_FILTER}, to {cached}x{cached}" + (f", then to {size}x{size}" if cached != size else "")


def common_channels(real: str, reals: Sequence[Pixels], fake: str, fakes: Sequence[Pixels], channels: str) -> int:
    """Return the number of channels that both sets are compared with.

    A set is grey where at least 90 % of its images are, as in training (`gan.images.choose_channels`), and in colour
    where at least 90 % are; the others are then converted.

    Args:
        real: Name of the real set, for messages.
        reals: Its images, (H, W, C) uint8 each, C = 1 or 3.
        fake: Name of the generated set.
        fakes: Its images.
        channels: ``"1"``, ``"3"`` or ``"auto"``.

    Raises:
        SonoforgeError: One set is grey and the other in colour, or a set is neither.
    """
    if channels != "auto":
        return int(channels)
    kinds = []
    for source, images in ((real, reals), (fake, fakes)):
        grey = sum(bool((image == image[..., :1]).all()) for image in images)
        if (1 - GREY_SHARE) * len(images) < grey < GREY_SHARE * len(images):
            raise SonoforgeError(
                f"{source}: found {grey} grey images and {len(images) - grey} in colour, expected all of one kind; "
                "give --channels 1 to compare them as grey"
            )
        kinds.append(1 if grey >= GREY_SHARE * len(images) else 3)
    if kinds[0] != kinds[1]:
        said = {1: "grey", 3: "in colour"}
        raise SonoforgeError(
            f"{fake}: its images are {said[kinds[1]]}, those of {real} {said[kinds[0]]}; "
            "give --channels 1 to compare both as grey"
        )
    return kinds[0]


# ---- generated images


def _is_run(path: Path) -> bool:
    return (path / gan_checkpoint.DESCRIPTION).is_file() or (path / "checkpoints").is_dir()


def _find_images(source: str, class_name: str, image_size: int | None, cache_folder: Path | None) -> _Fakes:
    """Read images that were generated before; ``class_name`` chooses among class folders, if there are any."""
    path = _phantom(cache_folder).dataset.root if source == "phantom" else Path(source)
    pictures = read_pictures(path, lambda classes: check_class(source, class_name, classes))
    if pictures.synthetic is False:
        log.warning("%s: its manifest says that these images are NOT generated", source)
    native = _described(pictures)
    return _Fakes(native.class_name, 0 if image_size else _own_side(source, native), lambda count: native)


def _own_side(source: str, native: _Native) -> int:
    sizes: dict[tuple[int, int], str] = {}
    for name, (width, height) in zip(native.names, native.sizes.tolist(), strict=True):
        sizes.setdefault((width, height), name)
    first, *others = sizes
    if others:
        raise SonoforgeError(
            f"{source}: found images of different sizes ({sizes[first]} has {first[0]}x{first[1]} pixels, "
            f"{sizes[others[0]]} {others[0][0]}x{others[0][1]}); give the size to compare at with --image-size"
        )
    if first[0] != first[1]:
        raise SonoforgeError(
            f"{source}: found images of {first[0]}x{first[1]} pixels, expected squares; give --image-size"
        )
    if first[0] < imagefile.MIN_SIDE:
        raise SonoforgeError(
            f"{source}: found images of {first[0]}x{first[1]} pixels, expected at least {imagefile.MIN_SIDE} a side; "
            "give --image-size to enlarge them"
        )
    return first[0]


def _find_run(path: Path, which: str, class_name: str, seed: int, device: str) -> _Fakes:
    """Find a checkpoint to generate images with."""
    checkpoint = gan_checkpoint.find_checkpoint(path, which)
    about = gan_checkpoint.describe(checkpoint)
    shown, label = about.class_name, None
    if about.classes:
        if not class_name:
            raise SonoforgeError(f"{checkpoint}: --class-name is missing, expected one of {', '.join(about.classes)}")
        shown = check_class(str(checkpoint), class_name, about.classes)
        label = about.classes.index(shown)

    def generate(count: int) -> _Native:
        log.info("generating %d images with %s, seed %d", count, checkpoint, seed)
        images: list[Pixels] = []
        for pixels in sample_batches(load_generator(checkpoint, device), count, seed, label):
            images.extend(split_masks(pixels, about.image_channels)[0])
        names = [f"{index:05d}" for index in range(count)]
        return _described(Pictures(images, names, [None] * count, shown, synthetic=True))

    try:
        return _Fakes(shown, int(about.generator_options["image_size"]), generate)
    except (KeyError, TypeError, ValueError) as error:
        raise SonoforgeError(f"{checkpoint}: its description has no image size; use another checkpoint") from error


# ---- real images


def _read_real(source: str, class_name: str, generated: str, size: int, cache_folder: Path | None) -> _Native:
    """Read real images as a training at this size sees them, before ``prepare_images``."""
    path = Path(source)
    if source != "phantom" and not path.exists():
        raise _absent(source)
    if _is_run(path):
        raise SonoforgeError(
            f"{source}: found a run of sonoforge gan train as REAL, expected real images; it may be FAKE"
        )

    def choose(classes: Sequence[str]) -> str:
        return _class_of_real(source, class_name, generated, classes)

    if source != "phantom" and path.is_file():
        pictures = read_pictures(path, choose)
        _refuse_generated(source, len(pictures.images), pictures.generated, pictures.synthetic)
        resize = Preprocessing(size=max(size, _TRAINING_SIZE)).resize
        return _described(pictures)._replace(images=[resize(as_picture(image)) for image in pictures.images])
    cache = _phantom(cache_folder) if source == "phantom" else open_cache(find_images(path), folder=cache_folder)
    if size > cache.size:
        cache = open_cache(cache.dataset, size, cache_folder)
    dataset = cache.dataset
    check_unreadable(source, len(cache.hashes) + len(cache.unreadable), cache.unreadable)
    shown = choose(dataset.classes) if len(dataset.classes) > 1 else ""
    chosen = [i for i, item in enumerate(dataset.items) if shown in ("", dataset.classes[item.label])]
    items = [dataset.items[index] for index in chosen]
    if source != "phantom":
        said = [item.path for item in items if _file_says_generated(dataset.root / item.path)]
        _refuse_generated(source, len(items), said, read_manifest(path).get("synthetic"))
    return _Native(
        list(cache.images[chosen]),
        [item.path for item in items],
        [cache.hashes[index] for index in chosen],
        cache.thumbnails[chosen],
        cache.sizes[chosen],
        [item.group for item in items],
        shown,
        None,
        len(cache.unreadable),
    )


def _class_of_real(source: str, class_name: str, generated: str, classes: Sequence[str]) -> str:
    """Return the class to take: the one asked for, or the one that the generated images show; empty for all."""
    if class_name:
        check_class(source, class_name, classes)
        if generated not in ("", class_name):
            log.warning("FAKE says that it shows %s, and is compared with real images of %s", generated, class_name)
        return class_name
    if not generated:
        return ""
    if generated not in classes:
        raise SonoforgeError(
            f"{source}: found classes {', '.join(classes)}, but FAKE says that it shows {generated!r}; "
            "give the class to compare with, --class-name NAME"
        )
    log.info(
        "%s: only class %s is compared, as FAKE says that it shows it; --class-name takes another", source, generated
    )
    return generated


def _phantom(folder: Path | None) -> ImageCache:
    return load_images(ImageSource("phantom", PHANTOM_IMAGES, 0, str(folder or "")))


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


def _absent(source: str) -> SonoforgeError:
    return SonoforgeError(
        f"{source}: no such file or folder; expected a folder of images, a .zip, an .npz, or phantom"
        f"{did_you_mean(source, ['phantom'])}"
    )


# ---- both


def _described(pictures: Pictures) -> _Native:
    """Describe pictures as the image cache does: content, thumbnail, size."""
    hashes, thumbnails, sizes = [], [], []
    for pixels in pictures.images:
        image = as_picture(pixels)
        hashes.append(content_hash(image))
        thumbnails.append(make_thumbnail(image))
        sizes.append(image.size)
    return _Native(
        pictures.images,
        pictures.names,
        hashes,
        np.stack(thumbnails),
        np.array(sizes, np.int64),
        pictures.groups,
        pictures.class_name,
        True if pictures.generated else pictures.synthetic,
        pictures.unreadable,
    )


def _finished(source: str, native: _Native, size: int, channels: int, resize: str) -> ImageSet:
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(native.images):
        by_shape.setdefault(image.shape, []).append(index)
    pixels = np.empty((len(native.images), size, size, channels), np.uint8)
    for indices in by_shape.values():
        pixels[indices] = prepare_images(np.stack([native.images[index] for index in indices]), size, channels)
    return ImageSet(
        source=source,
        pixels=pixels,
        names=tuple(native.names),
        hashes=tuple(native.hashes),
        thumbnails=native.thumbnails,
        native_sizes=native.sizes,
        given_groups=tuple(native.groups),
        class_name=native.class_name,
        synthetic=native.synthetic,
        resize=resize,
        unreadable=native.unreadable,
    )

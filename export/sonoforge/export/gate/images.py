"""The images on which an exported file must answer as the trained network does: of the kind that it was trained on."""

from __future__ import annotations

import functools
import logging
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.preprocessing import IMAGENET, Preprocessing
from sonoforge.training.classifier.model_folder import HASH_PREFIX
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.cache_settings import CacheSettings
from sonoforge.training.data.data_option import PHANTOM, recorded_data
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.statistics.predictions import ANSWERS, read_predictions

log = logging.getLogger(__name__)

FEWEST = 100
MOST = 1000
PHANTOMS = 120

_PHANTOM = re.compile(r"phantom-\d+-\d+-[0-9a-f]{8}")  # folder of a simulated set, see `load_images`

# Mild, as between two frames of one examination: a label that such a change turns was a near tie before.
SHIFT = 0.02  # of a side at most
GAIN = 0.05  # brighter or darker at most
_GOLDEN = (0.7548776662466927, 0.5698402909980532, 0.618033988749895)  # steps that fill a cube evenly (Roberts 2018)

_DESCRIPTION = f"mirrored, shifted by up to {SHIFT:.0%}, brighter or darker by up to {GAIN:.0%}, and as they are"

Original = Callable[[], NDArray[np.uint8]]


class JudgedModel(NamedTuple):
    """What is known of the model whose files are judged."""

    classes: tuple[str, ...]  # names
    training: Mapping[str, Any]  # the record of its training (`TrainingRecord`), as its model folder or manifest has it
    # (N, S, S, 3) uint8, training images that lie with it; None for a bundle, which carries none.
    kept: NDArray[np.uint8] | None
    preprocessing: Preprocessing = IMAGENET  # what it sees of each image


class GateImages(NamedTuple):
    """Images, and what is known of them."""

    pixels: NDArray[np.uint8]  # (N, S, S, 3), as the runtime resizes them
    # The N images in their own size when they are called, (H, W) or (H, W, 3) uint8; those that a model sees cropped
    # are cropped here, too.
    originals: tuple[Original, ...]
    names: tuple[str, ...]  # class folder and file name of each
    labels: (
        NDArray[np.int64] | None
    )  # (N,) index of the true class; None where the set has other classes than the model
    # (N, C) cross-validated probabilities of these images, each from a model that saw neither the image nor a
    # near-duplicate of it; of a variant, those of its image; None where there are none.
    sealed: NDArray[np.float64] | None
    source: str  # what the images are, for the record
    distinct: int  # number of images before variants


def find_images(data: str, run: Path | None, settings: Mapping[str, Any], model: JudgedModel) -> GateImages:
    """Choose the images: those of ``data``, or the run's own; never images of another kind unless they are asked for.

    Fewer than `FEWEST` are judged in variants of each, see `Variant`.  Simulated breast scans stand in only for a
    bundle that was trained on images of the shipped one, or on such scans.

    ``data`` is a folder of images, ``phantom``, or empty for the run's own; ``run`` the run folder, whose
    ``predictions.csv`` has the sealed answers, with its settings (``data``, ``images``, ``seed``, ``cache``); for a
    bundle None and none.

    Raises:
        SonoforgeError: No such folder, or no images and none given.
    """
    cache_folder = CacheSettings(str(settings.get("cache") or "")).open()
    phantoms = ImageSource(PHANTOM, PHANTOMS, 0, cache_folder, model.preprocessing)
    if data:
        source = phantoms._replace(data=(data,))
        return _enough(_from_cache(load_images(source), run, model), model.preprocessing)
    own = recorded_data(settings)
    if own == PHANTOM or (own and all(Path(path).exists() for path in own)):
        number, seed = int(settings.get("images") or PHANTOMS), int(settings.get("seed") or 0)
        cache = load_images(ImageSource(own, number, seed, cache_folder, model.preprocessing))
        seen = set(model.training.get("images") or ())
        if not seen or any(name[:HASH_PREFIX] in seen for name in cache.hashes):
            return _enough(_from_cache(cache, run, model), model.preprocessing)
        log.warning("%s: holds none of the images that the model was trained on", ", ".join(own))
    elif own:
        log.warning("%s: the run's images are no longer there", ", ".join(own))
    if model.kept is not None:
        return _enough(_from_kept(model), model.preprocessing)
    trained_on = str(model.training.get("data") or "its training")
    if not _knows_simulated_scans(model.training):
        raise SonoforgeError(
            "a bundle carries no images to check its files on; expected images of the kind that it was trained on "
            f"({trained_on}): give --data FOLDER"
        )
    log.info("a bundle carries no images, and this one was trained on %s: simulated breast scans serve", trained_on)
    return _from_cache(load_images(phantoms), None, model)


def _knows_simulated_scans(training: Mapping[str, Any]) -> bool:
    """Say whether a model was trained on such scans, or for the greater part on images of BUSI, as the shipped one."""
    if _PHANTOM.fullmatch(str(training.get("data"))):
        return True
    own = set(training.get("images") or ())
    return 2 * len(own & set(open_bundle(None).manifest.raw["training"]["images"])) > len(own)


def _from_cache(cache: ImageCache, run: Path | None, model: JudgedModel) -> GateImages:
    chosen = evenly_spaced(len(cache.images), MOST)
    names = [cache.dataset.items[index].path for index in chosen]
    known = cache.dataset.classes == model.classes
    files = [cache.dataset.file(name) for name in names]
    is_phantom = _PHANTOM.fullmatch(cache.dataset.name)
    return GateImages(
        np.asarray(cache.images[chosen]),
        tuple(functools.partial(_decode, file, model.preprocessing) for file in files),
        tuple(f"{file.parent.name}/{file.name}" for file in files),
        cache.dataset.labels[chosen] if known else None,
        _sealed(run, names, model, cache) if known and run is not None else None,
        f"{len(chosen)} simulated breast scans (phantom)"
        if is_phantom
        else f"{len(chosen)} images of {cache.dataset.name}",
        len(chosen),
    )


def _from_kept(model: JudgedModel) -> GateImages:
    """Take the training images that lie in the run's model folder; which class each has is not kept."""
    assert model.kept is not None  # noqa: S101 - the caller asks
    name = model.training.get("data") or "the data set"
    log.info("files are checked on the %d training images that the run keeps beside its model", len(model.kept))
    return GateImages(
        model.kept,
        tuple(functools.partial(np.asarray, pixels) for pixels in model.kept),
        tuple(f"training image {index + 1}" for index in range(len(model.kept))),
        None,
        None,
        f"{len(model.kept)} training images of {name}, kept with the model",
        len(model.kept),
    )


def _enough(images: GateImages, preprocessing: Preprocessing) -> GateImages:
    """Repeat few images in variants, each equally often, until there are `FEWEST`."""
    count = len(images.pixels)
    if count >= FEWEST:
        return images
    changes = list_variants(math.ceil(FEWEST / count))
    originals = [functools.partial(_varied, original, change) for original in images.originals for change in changes]
    repeated = np.repeat(np.arange(count), len(changes))
    source = f"{images.source}, {len(originals)} variants"
    log.info("%s: each %s", source, _DESCRIPTION)
    return GateImages(
        np.stack([preprocessing.resize(Image.fromarray(original())) for original in originals]),
        tuple(originals),
        tuple(images.names[index] for index in repeated),
        None if images.labels is None else images.labels[repeated],
        None if images.sealed is None else images.sealed[repeated],
        source,
        count,
    )


def _decode(file: Path, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    return np.asarray(preprocessing.seen(read_image(file)))


def _varied(original: Original, change: Variant) -> NDArray[np.uint8]:
    return vary(original(), change)


def _sealed(run: Path, names: list[str], model: JudgedModel, cache: ImageCache) -> NDArray[np.float64] | None:
    """Look the images up among the run's cross-validated predictions."""
    path = run / ANSWERS
    if not path.is_file():
        return None
    parts, columns = read_predictions(path)
    arm = str(model.training.get("arm", ""))
    part = next((part for part in parts if (part.arm, part.protocol) == (arm, "sealed")), None)
    if part is None or columns != model.classes:
        return None
    rows = {file: row for row, file in enumerate(part.files)}
    if any(name not in rows for name in names):
        log.warning("%s: has other images than %s: sealed predictions are left out", path, cache.dataset.root)
        return None
    return part.probabilities[[rows[name] for name in names]]


class Variant(NamedTuple):
    """A change of an image."""

    mirrored: bool
    right: float  # shift as a share of the width
    down: float  # shift as a share of the height
    gain: float


def list_variants(count: int) -> list[Variant]:
    """Return the first so many changes, of which the first is none; the same ones for the same number, always."""
    found = [Variant(False, 0.0, 0.0, 1.0)]
    for index in range(1, count):
        right, down, gain = (2 * ((0.5 + index * step) % 1) - 1 for step in _GOLDEN)
        found.append(Variant(index % 2 == 1, SHIFT * right, SHIFT * down, 1 + GAIN * gain))
    return found


def vary(pixels: NDArray[np.uint8], variant: Variant) -> NDArray[np.uint8]:
    """Change an image (H, W) or (H, W, C); what a shift uncovers repeats the border."""
    if variant.mirrored:
        pixels = pixels[:, ::-1]
    rows, columns = (
        np.clip(np.arange(side) - round(share * side), 0, side - 1)
        for side, share in zip(pixels.shape, (variant.down, variant.right), strict=False)
    )
    moved = pixels[rows][:, columns]
    changed: NDArray[np.uint8] = np.clip(np.round(moved * variant.gain), 0, 255).astype(np.uint8)
    return changed

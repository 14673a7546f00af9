"""The gate of every exported classifier file: does it answer as the trained network does, on a hundred images or more?

The images are of the kind that the network was trained on.  It compares probabilities and what follows from them:
labels, and the sensitivity and specificity of each class.  The final network was trained on these very images, so its
own sensitivity on them says little.  Where the run was cross-validated, the file's change of the logits is therefore
added to the held-out logits of the same images, and the held-out predictions with and without that change are compared.
"""

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

from sonoforge.export.bundle.folder import FormatRow
from sonoforge.export.formats.table import Tolerance
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.preprocessing import IMAGENET, Preprocessing
from sonoforge.training.classifier.model_folder import HASH_PREFIX
from sonoforge.training.data.cache import CacheSettings, ImageCache
from sonoforge.training.data.data_option import PHANTOM, recorded_data
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.statistics.predictions import ANSWERS, read_predictions

log = logging.getLogger(__name__)

FEWEST, MOST = 100, 1000  # images to compare on; fewer are repeated in variants
PHANTOMS = 120

_PHANTOM = re.compile(r"phantom-\d+-\d+-[0-9a-f]{8}")  # folder of a simulated set, see `load_images`

# Mild, as between two frames of one examination: a label that such a change turns was a near tie before.
SHIFT = 0.02  # largest shift, as a share of a side
GAIN = 0.05  # largest change of brightness
_GOLDEN = (0.7548776662466927, 0.5698402909980532, 0.618033988749895)  # steps that fill a cube evenly (Roberts 2018)

Answers = Mapping[str, NDArray[np.float32]]
"""``logits`` and ``probabilities`` (N, C), ``embedding`` (N, D) and ``cam`` (N, C, h, w)."""

Original = Callable[[], NDArray[np.uint8]]


class JudgedModel(NamedTuple):
    """A model and the files to judge."""

    classes: tuple[str, ...]  # names
    training: Mapping[str, Any]  # `TrainingRecord` of its model folder or manifest
    kept: NDArray[np.uint8] | None  # (N, S, S, 3) training images kept with it; None for a bundle, which carries none
    preprocessing: Preprocessing = IMAGENET


class GateImages(NamedTuple):
    """Images to compare answers on."""

    pixels: NDArray[np.uint8]  # (N, S, S, 3), resized as by the runtime
    originals: tuple[Original, ...]  # each returns an image in its own size, (H, W) or (H, W, 3), cropped as the model
    names: tuple[str, ...]  # class folder and file name
    labels: NDArray[np.int64] | None  # (N,) index of the true class; None where the set has other classes
    # (N, C) cross-validated probabilities, from models that saw neither the image nor a near-duplicate; variants share
    # those of their image; None where there are none.
    sealed: NDArray[np.float64] | None
    source: str  # description, for the record
    distinct: int  # number of images before variants
    hashes: tuple[str, ...] = ()  # content hash of each, empty of a variant; none where unknown


def find_images(data: str, run: Path | None, settings: Mapping[str, Any], model: JudgedModel) -> GateImages:
    """Choose images from ``data`` or the run's own, never of another kind unless asked for.

    Simulated breast scans stand in only for a bundle trained on them, or mainly on the images of the shipped one.

    Args:
        data: A folder of images, ``phantom``, or empty for the run's own.
        run: The run folder, whose ``predictions.csv`` has the sealed answers; None for a bundle.
        settings: The run's (``data``, ``phantom.images``, ``seed``, ``cache.folder``); empty for a bundle.
        model: The model being exported.
    """
    return _enough(_find(data, run, settings, model), model.preprocessing)


def _find(data: str, run: Path | None, settings: Mapping[str, Any], model: JudgedModel) -> GateImages:
    cache_folder = CacheSettings(str(settings.get("cache.folder") or "")).open()
    phantoms = ImageSource(PHANTOM, PHANTOMS, 0, cache_folder, model.preprocessing)
    if data:
        return _from_cache(load_images(phantoms._replace(data=(data,))), run, model)
    own = recorded_data(settings)
    if own == PHANTOM or (own and all(Path(path).exists() for path in own)):
        number, seed = int(settings.get("phantom.images") or PHANTOMS), int(settings.get("seed") or 0)
        cache = load_images(ImageSource(own, number, seed, cache_folder, model.preprocessing))
        seen = set(model.training.get("images") or ())
        if not seen or any(name[:HASH_PREFIX] in seen for name in cache.hashes):
            return _from_cache(cache, run, model)
        log.warning("%s: holds none of the images that the model was trained on", ", ".join(own))
    elif own:
        log.warning("%s: the run's images are no longer there", ", ".join(own))
    if model.kept is not None:
        return _from_kept(model.kept, model.training)
    trained_on = str(model.training.get("data") or "its training")
    if not _trained_on_simulated_scans(model.training):
        raise SonoforgeError(
            "a bundle carries no images to check its files on; give images of the kind that it was trained on "
            f"({trained_on}) with --data FOLDER"
        )
    log.info("a bundle carries no images; checking on simulated breast scans, as it was trained on %s", trained_on)
    return _from_cache(load_images(phantoms), None, model)


def _trained_on_simulated_scans(training: Mapping[str, Any]) -> bool:
    """Whether a model was trained on simulated scans, or mainly on the images (of BUSI) of the shipped one."""
    if _PHANTOM.fullmatch(str(training.get("data"))):
        return True
    own = set(training.get("images") or ())
    return 2 * len(own & set(open_bundle(None).manifest.raw["training"]["images"])) > len(own)


def _from_cache(cache: ImageCache, run: Path | None, model: JudgedModel) -> GateImages:
    chosen = evenly_spaced(len(cache.images), MOST)
    names = [cache.dataset.items[index].path for index in chosen]
    same_classes = cache.dataset.classes == model.classes
    files = [cache.dataset.file(name) for name in names]

    def decode(file: Path) -> NDArray[np.uint8]:
        return np.asarray(model.preprocessing.seen(read_image(file)))

    is_phantom = _PHANTOM.fullmatch(cache.dataset.name)
    kind = "simulated breast scans (phantom)" if is_phantom else f"images of {cache.dataset.name}"
    return GateImages(
        np.asarray(cache.images[chosen]),
        tuple(functools.partial(decode, file) for file in files),
        tuple(f"{file.parent.name}/{file.name}" for file in files),
        cache.dataset.labels[chosen] if same_classes else None,
        _sealed(run, names, model, cache) if same_classes and run is not None else None,
        f"{len(chosen)} {kind}",
        len(chosen),
        tuple(cache.hashes[index] for index in chosen),
    )


def _from_kept(kept: NDArray[np.uint8], training: Mapping[str, Any]) -> GateImages:
    """Take the training images kept in the run's model folder, which records no class for them."""
    count = len(kept)
    log.info("checking files on the %d training images that the run keeps beside its model", count)
    return GateImages(
        kept,
        tuple(functools.partial(np.asarray, pixels) for pixels in kept),
        tuple(f"training image {index + 1}" for index in range(count)),
        None,
        None,
        f"{count} training images of {training.get('data') or 'the data set'}, kept with the model",
        count,
    )


def _enough(images: GateImages, preprocessing: Preprocessing) -> GateImages:
    """Repeat images in variants, each equally often, until there are at least `FEWEST`."""
    count = len(images.pixels)
    if count >= FEWEST:
        return images
    changes = math.ceil(FEWEST / count)
    originals = [functools.partial(vary, own, change) for own in images.originals for change in range(changes)]
    mild = f"mirrored, shifted by up to {SHIFT:.0%}, brighter or darker by up to {GAIN:.0%}"
    log.info("%s: each as it is and %s", images.source, mild)
    return GateImages(
        np.stack([preprocessing.resize(Image.fromarray(original())) for original in originals]),
        tuple(originals),
        tuple(name for name in images.names for _ in range(changes)),
        None if images.labels is None else images.labels.repeat(changes),
        None if images.sealed is None else images.sealed.repeat(changes, 0),
        f"{images.source}, {len(originals)} variants",
        count,
        tuple(name if change == 0 else "" for name in images.hashes for change in range(changes)),
    )


def vary(original: Original, change: int) -> NDArray[np.uint8]:
    """Mirror, shift and brighten an image (H, W) or (H, W, C); a shift repeats the border; 0 changes nothing."""
    pixels = original()
    if not change:
        return pixels
    if change % 2:
        pixels = pixels[:, ::-1]
    right, down, gain = (2 * ((0.5 + change * step) % 1) - 1 for step in _GOLDEN)
    rows, columns = (
        np.clip(np.arange(side) - round(SHIFT * share * side), 0, side - 1)
        for side, share in zip(pixels.shape, (down, right), strict=False)
    )
    return np.asarray(np.clip(np.round(pixels[rows][:, columns] * (1 + GAIN * gain)), 0, 255).astype(np.uint8))


def _sealed(run: Path, names: list[str], model: JudgedModel, cache: ImageCache) -> NDArray[np.float64] | None:
    """Find the images' probabilities in the run's cross-validated predictions; return None if any is missing."""
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
        log.warning("%s: has other images than %s; held-out predictions are left out", path, cache.dataset.root)
        return None
    return part.probabilities[[rows[name] for name in names]]


def compare(answers: Answers, reference: Answers, images: GateImages, classes: tuple[str, ...]) -> FormatRow:
    """Compare a file's answers to N images with the network's, the reference.

    Returns ``images``, ``count`` and ``distinct`` of them; ``max_abs`` and ``mean_abs`` differences of probabilities;
    ``max_abs_logits``; ``max_relative`` of ``embedding`` and ``cam``; ``labels_equal``; ``worst``, the image with the
    largest difference; and where true classes are known ``sensitivity_change`` and ``specificity_change`` by class, in
    points, and ``judged_on``: ``held-out predictions`` or ``own labels``.  Raise `GateError` for outputs that have
    another shape or are not finite.
    """
    for name, values in reference.items():
        if answers[name].shape != values.shape:
            raise GateError(f"output {name} has the shape {answers[name].shape}, not {values.shape}")
        if not np.isfinite(answers[name]).all():
            raise GateError(f"output {name} holds NaN or infinity")
    found, expected = answers["probabilities"], reference["probabilities"]
    differences = np.abs(found.astype(np.float64) - expected)
    figures: FormatRow = {
        "images": images.source,
        "count": len(found),
        "distinct": images.distinct,
        "max_abs": float(differences.max()),
        "mean_abs": float(differences.mean()),
        "max_relative": {
            name: float(np.abs(answers[name] - reference[name]).max() / np.abs(reference[name]).max())
            for name in ("embedding", "cam")
        },
        "max_abs_logits": float(np.abs(answers["logits"].astype(np.float64) - reference["logits"]).max()),
        "labels_equal": int((found.argmax(1) == expected.argmax(1)).sum()),
        "worst": images.names[int(differences.max(1).argmax())],
    }
    if images.labels is None:
        return figures
    if images.sealed is not None:
        logits = np.log(np.clip(images.sealed, 1e-300, None))
        moved = logits + (answers["logits"].astype(np.float64) - reference["logits"])
        before, after, judged_on = logits.argmax(1), moved.argmax(1), "held-out predictions"
    else:
        before, after, judged_on = expected.argmax(1), found.argmax(1), "own labels"
    old, new = (_rates(called, images.labels, len(classes)) for called in (before, after))
    for kind, changes in zip(("sensitivity_change", "specificity_change"), 100 * (new - old), strict=True):
        figures[kind] = dict(zip(classes, changes.tolist(), strict=True))
    figures["judged_on"] = judged_on
    return figures


def _rates(predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return sensitivities and specificities (2, C); a class without images, or with all of them, loses nothing."""
    own, called = (np.arange(classes)[:, None] == each for each in (labels, predicted))
    pairs = ((own, called), (~own, ~called))
    return np.array([1 - (kind & ~hit).sum(1) / np.maximum(kind.sum(1), 1) for kind, hit in pairs])


def problems(figures: FormatRow, tolerance: Tolerance) -> list[str]:
    """Return the reasons why a file does not pass; empty if it does."""
    found = []
    if not figures["max_abs"] <= tolerance.probability:
        found.append(f"a probability differs by {figures['max_abs']:.2g} (allowed {tolerance.probability:g})")
    if tolerance.logits is not None and not figures["max_abs_logits"] <= tolerance.logits:
        found.append(f"a logit differs by {figures['max_abs_logits']:.2g} (allowed {tolerance.logits:g})")
    for name, value in figures["max_relative"].items():
        if not value <= tolerance.relative:
            found.append(f"{name} differs by {value:.2g} of its largest value (allowed {tolerance.relative:g})")
    equal, count = figures["labels_equal"], figures["count"]
    if equal / count < tolerance.agreement:
        found.append(f"{equal} of {count} labels agree (at least {tolerance.agreement:.1%} must)")
    changes = {"sensitivity": figures.get("sensitivity_change"), "specificity": figures.get("specificity_change")}
    for kind, by_class in changes.items():
        for name, change in (by_class or {}).items():
            if change < -tolerance.points:
                found.append(f"{kind} of {name} changes by {change:.1f} points (allowed -{tolerance.points:g})")
    return found

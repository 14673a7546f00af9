"""What a training starts from: a checkpoint of ours, or official StyleGAN2 and StyleGAN3 networks."""

import hashlib
import io
import json
import logging
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from sonoforge.models.stylegan import official
from sonoforge.models.stylegan.stylegan3 import MARGIN
from sonoforge.runtime.errors import GateError, SonoforgeError, name_some
from sonoforge.training.copies.signatures import make_signatures, recognise_once
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.checkpoint import SOURCES, describe, digest_of_images, find_checkpoint, trained_on
from sonoforge.training.phantom import PHANTOM_IMAGES
from sonoforge.training.run_folder import read_config

log = logging.getLogger(__name__)

PREFIX = re.compile(r"(G_ema|G|D)[./](.+)")

State = Mapping[str, Tensor]


class StartingWeights(NamedTuple):
    """Weights to start from."""

    name: str  # file or checkpoint with the first 16 hex digits of its sha256; recorded with the training
    architectures: tuple[str, ...]  # possible ones, by name in `networks.ARCHITECTURES`
    generator: State  # tensors by our names; may be empty
    discriminator: State  # tensors by our names; may be empty
    classes: tuple[str, ...] = ()  # by label, of conditional networks of ours


def read_starting_weights(path: Path) -> StartingWeights:
    """Read the weights of one pair of networks.

    Args:
        path: A run folder (its newest checkpoint), a checkpoint folder, or a ``.safetensors`` or ``.npz`` file with the
            tensors of the authors' PyTorch networks of StyleGAN2 or StyleGAN3: ``G/NAME`` or, without these,
            ``G_ema/NAME``, and ``D/NAME``; a dot may replace the slash.

    Raises:
        SonoforgeError: Not one of these, or damaged.
    """
    if path.is_dir():
        return _read_checkpoint(gan_checkpoint.find_checkpoint(path))
    readers = {".safetensors": load, ".npz": _load_arrays}
    if path.suffix not in readers:
        raise SonoforgeError(
            f"{path}: neither a run folder nor a .safetensors or .npz file of tensors named G/..., D/...; pickles "
            "(.pkl, .pt) run code when opened: save their state dicts as .safetensors first"
        )
    try:
        content = path.read_bytes()
        tensors = readers[path.suffix](content)
    except (OSError, ValueError, EOFError, SafetensorError, zipfile.BadZipFile) as error:
        raise SonoforgeError(f"{path}: cannot be read as {path.suffix} ({' '.join(str(error).split())})") from error
    parts: dict[str, dict[str, Tensor]] = {"G": {}, "G_ema": {}, "D": {}}
    for name, value in tensors.items():
        if found := PREFIX.fullmatch(name):
            parts[found[1]][found[2]] = value
    try:
        architectures, generator = _official_generator(parts["G"] or parts["G_ema"])
        discriminator = official.discriminator_from_official(parts["D"]).state_dict() if parts["D"] else {}
    except ValueError as error:
        raise SonoforgeError(f"{path}: {error}") from error
    if not generator and not discriminator:
        raise SonoforgeError(f"{path}: found no tensors named G/..., G_ema/... or D/...")
    return StartingWeights(_with_hash(path.name, content), architectures, generator, discriminator)


def _read_checkpoint(path: Path) -> StartingWeights:
    about = gan_checkpoint.describe(path)
    generator, discriminator = (gan_checkpoint.load_state(path, stem) for stem in ("generator", "discriminator"))
    # The description contains the hash of each file.
    description = (path / gan_checkpoint.DESCRIPTION).read_bytes()
    name = _with_hash(f"{path.resolve().parent.parent.name}/{path.name}", description)
    return StartingWeights(name, (about.architecture,), generator, discriminator, tuple(about.classes))


def _load_arrays(content: bytes) -> dict[str, Tensor]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        wanted = [name for name in arrays.files if PREFIX.fullmatch(name)]
        return {name: torch.from_numpy(np.asarray(arrays[name])) for name in wanted}


def _official_generator(state: State) -> tuple[tuple[str, ...], State]:
    if not state:
        return ("stylegan2", "stylegan3"), {}  # which share their discriminator
    if "synthesis.b4.const" in state:
        return ("stylegan2",), official.generator_from_official(state).state_dict()
    generator = official.generator_from_official(state)
    if (margin := official.margin_of(state)) != MARGIN:
        log.warning("its margin_size is %d, not %d as here: its images will differ near borders", margin, MARGIN)
    return ("stylegan3",), generator.state_dict()


def _with_hash(name: str, content: bytes) -> str:
    return f"{name} (sha256 {hashlib.sha256(content).hexdigest()[:16]})"


def refuse_seen_by_start(start_from: str, cache: ImageCache, cache_folder: Path) -> None:
    """Refuse to start generators from a run that was trained on images of this data set, even changed ones.

    The run's images are read again from their original place: about 45 core-milliseconds for each image of either set,
    the first time; the answer is kept beside the decoded images.  Files of weights are not checked.

    Raises:
        GateError: It was trained on some of them; the message names the first.
        SonoforgeError: Its images can no longer be read.
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
                f"--set gan.start_from: {run} was trained on {len(seen)} of these {len(cache.hashes)} images or on "
                "other "
                f"versions of them, so any figure on them would be leaked ({named}); start from a run on "
                "other collections"
            )
        log.info("%s was trained on %d images, none of them among these %d", run, len(trained), len(cache.hashes))
        start_from = str(read_config(run).get("gan.start_from") or "")
        said = describe(checkpoint).settings.get("start_from", "")
        if bool(said) != bool(start_from):
            raise SonoforgeError(
                f"--set gan.start_from: {run} started from {said or 'nothing'} by its checkpoint, but from "
                f"{start_from or 'nothing'} by its config.yaml; put the run's own file back"
            )
        if start_from and not Path(start_from).exists():
            raise SonoforgeError(f"--set gan.start_from: {run} started from {start_from}, which is gone; put it back")


def _read_trained(run: Path, images: str, cache_folder: Path) -> tuple[ImageCache, list[int]]:
    """Read a run's data set; return it and the indices of its training images, whose digest is ``images``."""
    config = read_config(run)
    given: Any = config.get("data")
    if not given:
        raise SonoforgeError(
            f"--set gan.start_from: {run} has no config.yaml that names its images; they cannot be compared"
        )
    data = tuple(given) if isinstance(given, list) else (str(given),)
    cache = load_images(ImageSource(data, PHANTOM_IMAGES, 0, cache_folder, fewest_classes=1))
    try:
        hashes = set(json.loads((run / SOURCES).read_text(encoding="utf-8")).values())
    except (OSError, ValueError, AttributeError) as error:
        raise SonoforgeError(
            f"--set gan.start_from: {run / SOURCES}, which names its images, cannot be read"
        ) from error
    if digest_of_images(hashes) != images:
        raise SonoforgeError(
            f"--set gan.start_from: {run / SOURCES} names other images than the checkpoint was trained on; put the "
            "run's "
            "own file back"
        )
    missing = len(hashes - set(cache.hashes))
    if missing or not hashes:
        raise SonoforgeError(
            f"--set gan.start_from: {run} was trained on {len(hashes)} images, of which {missing} are no longer in "
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

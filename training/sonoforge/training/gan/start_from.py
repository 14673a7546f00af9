"""Start a training run from one of our runs, transferring its weights into networks of any size.

Fine-tuning a generator trained on many other images helps small sets most (Karras et al., "Training Generative
Adversarial Networks with Limited Data", NeurIPS 2020, section 4.2).

A tensor is transferred if its position in the network and its shape agree.  Positions count doublings from the smallest
feature maps, so networks for 512 and for 256 pixels share all levels except one; StyleGAN3's layers, which have no
resolution, are counted by index.  A layer's bias, noise and magnitude follow its weight, and a mapping network with
another depth is skipped.  Everything else keeps its random initial values.

A generator without a discriminator, as of ``flow``, can start from a bundle, too.  The shipped one was trained on other
collections of breast ultrasound than BUSI; ``training/studies/generators/autoencoder.py`` begins one of any others.
"""

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn.functional import normalize

from sonoforge.models import flow
from sonoforge.models.layers import FIRST_STEPS
from sonoforge.runtime.bundle.classification import BREAST_ULTRASOUND
from sonoforge.runtime.bundle.generation import GeneratorManifest
from sonoforge.runtime.bundle.reader import SHIPPED_GENERATOR, Bundle, chosen_path, open_bundle
from sonoforge.runtime.errors import GateError, SonoforgeError, name_some, refusing
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.data_option import recorded_data
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.checkpoint import SOURCES, describe, digest_of_images, find_checkpoint, trained_on
from sonoforge.training.gan.networks import find_architecture
from sonoforge.training.gan.recipes import RECIPES, split_preset
from sonoforge.training.phantom import PHANTOM_IMAGES
from sonoforge.training.run_folder import read_config

log = logging.getLogger(__name__)

State = Mapping[str, Tensor]
START = "start.safetensors"  # of a bundle: what its ONNX file lacks of the weights, by name


class StartingWeights(NamedTuple):
    """Weights to start from."""

    name: str  # checkpoint with the first 16 hex digits of its sha256; recorded with the training
    architecture: str  # by name in `networks.ARCHITECTURES`
    generator: State  # tensors by name
    discriminator: State
    classes: tuple[str, ...] = ()  # by label, of conditional networks
    masks: int = 0  # number of the channels that are masks


def read_starting_weights(choice: str) -> StartingWeights:
    """Read the weights of a checkpoint folder, of a run folder's newest one, or of a generator's bundle.

    Raises:
        SonoforgeError: It is none of them, it is damaged, or the bundle's generator is of no use without its
            discriminator.
    """
    if (bundle := open_start(choice)) is not None:
        return _read_bundle(bundle)
    path = Path(choice)
    if not path.is_dir():
        raise SonoforgeError(f"{path}: neither a run folder of gan train nor one of its checkpoints, nor a bundle")
    path = find_checkpoint(path)
    about = describe(path)
    # Where no discriminator knows the generator of the last step, the averaged one is the better start.
    drawing = "average" if find_architecture(about.architecture, path).velocity else "generator"
    generator, discriminator = (gan_checkpoint.load_state(path, stem) for stem in (drawing, "discriminator"))
    # The description contains the hash of each file.
    digest = hashlib.sha256((path / gan_checkpoint.DESCRIPTION).read_bytes()).hexdigest()[:16]
    name = f"{path.resolve().parent.parent.name}/{path.name} (sha256 {digest})"
    masks = about.generator_options["channels"] - about.image_channels
    return StartingWeights(name, about.architecture, generator, discriminator, tuple(about.classes), masks)


def open_start(choice: str) -> Bundle[GeneratorManifest] | None:
    """Open the bundle that a training starts from, ``shipped`` or a path; None if it is no bundle."""
    path = chosen_path(choice, SHIPPED_GENERATOR)
    is_bundle = path.suffix == ".zip" or (path / "manifest.json").is_file()
    return open_bundle(path, GeneratorManifest) if is_bundle else None


def weights_of(drawing: bytes) -> dict[str, Tensor]:
    """Return the weights of an ONNX file of a generator that still have their own names."""
    import onnx  # noqa: PLC0415 - heavy, needed for this choice only

    named = {item.name: item for item in onnx.load_model_from_string(drawing).graph.initializer}
    found = {name: onnx.numpy_helper.to_array(item).astype(np.float32) for name, item in named.items()}
    whole = {name.removeprefix("generator.").removesuffix(".int8"): name for name in found if "generator." in name}
    return {
        name: torch.from_numpy(found[own] * found.get(f"generator.{name}.scale", np.float32(1)))
        for name, own in whole.items()
        if not name.endswith(".scale")
    }


def _read_bundle(bundle: Bundle[GeneratorManifest]) -> StartingWeights:
    about, masks = bundle.manifest, bundle.manifest.channels - bundle.manifest.image_channels
    if START not in about.files:
        raise SonoforgeError(
            f"start_from: {bundle.path} holds {about.recipe} without what a training needs; give its run folder instead"
        )
    content, rest = bundle.read(about.model), bundle.read(START)
    with refusing(f"{bundle.path}: {START} cannot be read", "export the bundle again"):
        generator = weights_of(content) | {name: value.float() for name, value in load(rest).items()}
    named = f"{'shipped ' if bundle.is_shipped else ''}bundle {about.title}"
    name = f"{named} (sha256 {hashlib.sha256(content).hexdigest()[:16]})"
    architecture = RECIPES[split_preset(about.recipe)[0]].architecture
    return StartingWeights(name, architecture, generator, {}, about.classes, masks)


def check_transfer(weights: StartingWeights, architecture: str, networks: tuple[nn.Module, nn.Module]) -> None:
    """Refuse weights of another architecture, or without any that fit, before building a network.

    Raises:
        SonoforgeError: They cannot be transferred.
    """
    if architecture != weights.architecture:
        raise SonoforgeError(
            f"start_from: {weights.name} holds {weights.architecture} networks, not {architecture} ones; choose a "
            "recipe of its own architecture"
        )
    for network, theirs in zip(networks, (weights.generator, weights.discriminator), strict=True):
        fitting = _fitting(network.state_dict(), theirs)
        if any(name in fitting for name, _ in network.named_parameters()):
            return
    raise SonoforgeError(
        f"start_from: {weights.name}: no weight agrees in position and shape with the networks to train; give layers "
        "of the same width, see width and preset"
    )


def transfer_weights(weights: StartingWeights, generator: nn.Module, discriminator: nn.Module) -> None:
    """Copy the weights that fit, checked by `check_transfer`, into new networks, in place; log how many there are."""
    pairs = (("generator", generator, weights.generator), ("discriminator", discriminator, weights.discriminator))
    for kind, network, theirs in pairs:
        if isinstance(network, flow.NoDiscriminator):
            network.load_state_dict(theirs)
            continue
        own = network.state_dict()
        fitting = _fitting(own, theirs)
        for name, value in fitting.items():
            own[name].copy_(value)
        new = {name: parameter for name, parameter in network.named_parameters() if name not in fitting}
        taken = sum(parameter.numel() for name, parameter in network.named_parameters() if name in fitting)
        layers = list(dict.fromkeys(re.sub(r"(\.\d+)\..*|\.(weight|bias)$", r"\1", name) for name in new))
        log.info(
            "%s: %d parameters taken from %s, %d new%s",
            kind, taken, weights.name, sum(parameter.numel() for parameter in new.values()),
            f" ({name_some(layers)})" if layers else "",
        )  # fmt: skip


def _fitting(own: State, theirs: State) -> dict[str, Tensor]:
    """Return the tensors to transfer, by our names."""
    by_position = {position: theirs[name] for name, position in _positions(theirs).items()}
    fitting = {
        name: by_position[position]
        for name, position in _positions(own).items()
        if position in by_position and by_position[position].shape == own[name].shape
    }
    mapping = {name for name in own if name.startswith("mapping.layers.")}
    if mapping != {name for name in theirs if name.startswith("mapping.layers.")}:
        fitting = {name: value for name, value in fitting.items() if name not in mapping}
    if not mapping <= fitting.keys():
        fitting.pop("mapping.average", None)
    weightless = {name.rpartition(".")[0] for name in own if name.endswith(".weight") and name not in fitting}
    return {name: value for name, value in fitting.items() if name.rpartition(".")[0] not in weightless}


def _positions(state: State) -> dict[str, str]:
    """Return each tensor's position by name; the residual discriminator numbers its blocks from the image."""
    blocks = sum(bool(re.fullmatch(r"blocks\.\d+\.skip\.weight", name)) for name in state)
    positions = {}
    for name in state:
        if name.endswith("_extra_state"):
            continue
        positions[name] = name
        if blocks and (found := re.fullmatch(r"blocks\.(\d+)\.(.+)", name)):
            positions[name] = f"level {blocks - int(found[1])}: {found[2]}"
        elif blocks and name.startswith("from_image."):
            positions[name] = f"level {blocks}: {name}"
    return positions


# Each class continues with its own weights, found by its name; a new one starts with the mean of all.
WEIGHT = r"\.parametrizations\.weight\.original"


class _Axis(NamedTuple):
    """The axis on which a layer's weight has its classes, at the end."""

    layer: str  # pattern of its name
    classes: int  # the axis of the classes
    outputs: int  # the axis of the outputs, the rows of the spectral normalisation
    weight: str = WEIGHT  # pattern of what follows the name


# Of the networks of the recipes ``projected`` and ``flow``.
_AXES = (
    _Axis(r"first\.0", 0, 1),  # a transposed convolution, into which the class goes after the latents
    _Axis(r".+\.(scale|shift)", 1, 0),
    _Axis(r".+\.class_rows", 0, 0),
    _Axis(r"embedding", 0, 0, r"\.weight"),
)


def with_classes(weights: StartingWeights, classes: Sequence[str]) -> StartingWeights:
    """Return weights to start from in the order of these classes.

    They stay unchanged if either side has no classes, if both have the same, or if the networks are not in `_AXES`.
    """
    unchanged = not classes or weights.classes in ((), tuple(classes))
    if unchanged or weights.architecture not in ("projected", "flow"):
        return weights
    new = [name for name in classes if name not in weights.classes]
    log.info(
        "classes that go on with their weights: %s%s",
        ", ".join(name for name in classes if name in weights.classes) or "none",
        f"; that start with the mean of all: {', '.join(new)}" if new else "",
    )
    return weights._replace(
        classes=tuple(classes),
        generator=for_classes(weights.generator, weights.classes, classes),
        discriminator=for_classes(weights.discriminator, weights.classes, classes),
    )


def for_classes(state: State, theirs: Sequence[str], ours: Sequence[str]) -> dict[str, Tensor]:
    """Return all tensors of a network of `_AXES`, with our classes in place of theirs.

    The normalisation of a changed weight is re-estimated.
    """
    changed = dict(state)
    for name, value in state.items():
        for axis in _AXES:
            if found := re.fullmatch(f"({axis.layer}){axis.weight}", name):
                shared, own = value.split([value.shape[axis.classes] - len(theirs), len(theirs)], axis.classes)
                mean = own.mean(axis.classes, keepdim=True)
                parts = [own.narrow(axis.classes, theirs.index(one), 1) if one in theirs else mean for one in ours]
                changed[name] = weight = torch.cat([shared, *parts], axis.classes)
                stem = f"{found[1]}.parametrizations.weight.0"
                if f"{stem}._u" in state:
                    changed[f"{stem}._u"], changed[f"{stem}._v"] = _singular_vectors(weight, axis.outputs)
    return changed


def _singular_vectors(weight: Tensor, outputs: int) -> tuple[Tensor, Tensor]:
    """Return a weight's first left and right singular vectors, with one row per output, as torch estimates them."""
    matrix = weight.movedim(outputs, 0).flatten(1)
    left = normalize(matrix.sum(1) + 1e-3, dim=0)
    right = normalize(matrix.T @ left, dim=0)
    for _ in range(FIRST_STEPS):
        left = normalize(matrix @ right, dim=0)
        right = normalize(matrix.T @ left, dim=0)
    return left, right


def suited(weights: StartingWeights, options: Mapping[str, Any], classes: Sequence[str], only: str) -> StartingWeights:
    """Return weights to start from for the classes, and without the masks, that a generator with these options lacks.

    A ``flow`` of one class, ``only``, goes on with that class's embedding; the mean of all, if it is new.  Without
    masks it goes on as it drew images alone, with the masks at time 0.
    """
    weights = with_classes(weights, classes if options["classes"] else ())
    state, bias = dict(weights.generator), "time.2.bias"
    if weights.architecture != "flow":
        return weights
    if weights.classes and not options["classes"]:
        rows = state.pop("embedding.weight")
        found = [weights.classes.index(only)] if only in weights.classes else [*range(len(rows))]
        state[bias] = state[bias] + rows[found].mean(0)
    if weights.masks and not options.get("masks"):
        own = options["channels"]
        kept = slice(options.get("depth") or len(state["last.bias"]) * own // (own + weights.masks))
        state["first.weight"] = state["first.weight"][:, kept]
        state |= {name: state[name][kept] for name in ("last.weight", "last.bias")}
        of_image, of_mask, varying, _ = state["time.0.weight"].chunk(4, 1)
        state["time.0.weight"] = torch.cat([of_image, varying], 1)
        state["time.0.bias"] = state["time.0.bias"] + of_mask.sum(1)  # the cosines at time 0
    return weights._replace(generator=state)


def refuse_seen_by_start(start_from: str, cache: ImageCache, cache_folder: Path) -> None:
    """Refuse to start generators from a run that was trained on images of this data set, even changed ones.

    The run's images are read again from their original place. This takes about 45 core-milliseconds per image of either
    set the first time; the answer is kept beside the decoded images.

    Raises:
        GateError: It was trained on some of them; the message gives the first.
        SonoforgeError: Its images can no longer be read.
    """
    while start_from:
        if (bundle := open_start(start_from)) is not None:
            if leaked := seen_by_bundle(bundle, cache):
                raise GateError(
                    f"--set gan.start_from: {bundle.path} was trained on {len(leaked)} of these {len(cache.hashes)} "
                    "images or on other versions of them, so any figure on them would be leaked "
                    f"({name_some(leaked, '; ')}); start from a generator of other collections"
                )
            return
        checkpoint = find_checkpoint(Path(start_from))
        run = checkpoint.parent.parent
        theirs, trained = _read_trained(run, trained_on(checkpoint), cache_folder)
        if seen := _find_seen(theirs, trained, cache):
            ours, other = cache.dataset.items, theirs.dataset.items
            named = name_some((f"{ours[own].path} ~ {other[index].path}" for own, index in seen), "; ")
            raise GateError(
                f"--set gan.start_from: {run} was trained on {len(seen)} of these {len(cache.hashes)} images or on "
                f"other versions of them, so any figure on them would be leaked ({named}); start from a run on other "
                "collections"
            )
        log.info("%s was trained on %d images, none of them among these %d", run, len(trained), len(cache.hashes))
        start_from = str(read_config(run).get("gan.start_from") or "")
        said = describe(checkpoint).settings.get("start_from", "")
        if bool(said) != bool(start_from):
            raise SonoforgeError(
                f"--set gan.start_from: {run} started from {said or 'nothing'} by its checkpoint, but from "
                f"{start_from or 'nothing'} by its config.yaml; put the run's own file back"
            )
        if start_from and not chosen_path(start_from, SHIPPED_GENERATOR).exists():
            raise SonoforgeError(f"--set gan.start_from: {run} started from {start_from}, which is gone; put it back")


def suits_start(cache: ImageCache) -> bool:
    """Whether generators of these images should start from the shipped one; log why.

    They do for breast ultrasound on which it was not trained.
    """
    from sonoforge.training.evaluation.spaces import kind_of  # noqa: PLC0415 - loads the shipped classifier

    if kind_of(cache.images, np.arange(len(cache.hashes))) != BREAST_ULTRASOUND:
        return False
    if seen := seen_by_bundle(open_bundle(SHIPPED_GENERATOR, GeneratorManifest), cache):
        log.info("generators: not started from the shipped one, which was trained on %d of these images", len(seen))
        return False
    log.info(
        "generators: started from the shipped one, trained on other breast ultrasound (--gan-recipe NAME: another)"
    )
    return True


def seen_by_bundle(bundle: Bundle[GeneratorManifest], cache: ImageCache) -> list[str]:
    """List the images that a generator's bundle was trained on, changed or not, and what each one shows.

    Its collections are compared through the signatures of the shipped classifier, which has seen them, too.

    Raises:
        SonoforgeError: It was trained on other collections, whose images cannot be compared.
    """
    from sonoforge.training.classifier.trained_on import find_seen  # noqa: PLC0415 - needs OpenCV

    judge, trained = open_bundle(None), set(bundle.manifest.raw["training"]["data"].split("+"))
    if unknown := trained - set(judge.manifest.raw["training"]["collections"]):
        raise SonoforgeError(
            f"--set gan.start_from: {bundle.path} was trained on {', '.join(sorted(unknown))}, whose images cannot be "
            "compared with these; start from its run folder"
        )
    items = cache.dataset.items
    return [f"{items[one.image].path} ~ {one.why}" for one in find_seen(judge, cache) if one.collection in trained]


def _read_trained(run: Path, images: str, cache_folder: Path) -> tuple[ImageCache, list[int]]:
    """Read a run's data set; return it and the indices of its training images, whose digest is ``images``."""
    data = recorded_data(read_config(run))
    if not data:
        raise SonoforgeError(
            f"--set gan.start_from: {run} has no config.yaml that says where its images are, so they cannot be compared"
        )
    cache = load_images(ImageSource(data, PHANTOM_IMAGES, 0, cache_folder, fewest_classes=1))
    with refusing(f"--set gan.start_from: {run / SOURCES}, which lists its images, cannot be read"):
        hashes = set(json.loads((run / SOURCES).read_text(encoding="utf-8")).values())
    if digest_of_images(hashes) != images:
        raise SonoforgeError(
            f"--set gan.start_from: {run / SOURCES} lists other images than the checkpoint was trained on; put the "
            "run's own file back"
        )
    missing = len(hashes - set(cache.hashes))
    if missing or not hashes:
        raise SonoforgeError(
            f"--set gan.start_from: {run} was trained on {len(hashes)} images, of which {missing} are no longer in "
            f"{', '.join(data)}, so they cannot be compared; put them back"
        )
    return cache, [index for index, digest in enumerate(cache.hashes) if digest in hashes]


def _find_seen(theirs: ImageCache, trained: Sequence[int], cache: ImageCache) -> list[tuple[int, int]]:
    """Return pairs of our images and the ones of theirs that they show, in our order."""
    places = {theirs.hashes[index]: index for index in trained}
    found = {index: places[digest] for index, digest in enumerate(cache.hashes) if digest in places}
    if found:
        return sorted(found.items())  # one is enough: no search for copies
    from sonoforge.training.copies.signatures import make_signatures, recognise_once  # noqa: PLC0415 - needs OpenCV

    matches = recognise_once(
        cache.store,
        lambda: make_signatures([theirs.pictures[index] for index in trained]),
        [theirs.hashes[index] for index in trained],
        cache.pictures,
        cache.hashes,
    )
    return [(match.second, trained[match.first]) for match in matches]

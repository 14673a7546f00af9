"""Transfer of weights into networks of any size, and freezing of blocks.

Fine-tuning a generator trained on many other images helps small sets most (Karras et al., "Training Generative
Adversarial Networks with Limited Data", NeurIPS 2020, section 4.2), more so with frozen discriminator blocks nearest
the image (Mo, Cho, Shin, "Freeze the Discriminator: a Simple Baseline for Fine-Tuning GANs", 2020).  A discriminator
that sees through a frozen network is frozen there already; its generator's coarsest blocks can be frozen instead.

A tensor is transferred if its position in the network and its shape agree.  Positions count doublings from the
smallest feature maps, so networks for 512 and for 256 pixels share all levels but one; StyleGAN3's layers, which have
no resolution, are counted by index.  A layer's bias, noise and magnitude go with its weight, and a mapping network of
another depth is skipped.  Everything else keeps its random initial values.
"""

import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from sonoforge.models import projected
from sonoforge.models.layers import FIRST_STEPS
from sonoforge.models.stylegan import stylegan1
from sonoforge.models.stylegan.stylegan2 import Discriminator
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.gan.start_from import StartingWeights

log = logging.getLogger(__name__)

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)

State = Mapping[str, Tensor]


def check_transfer(
    weights: StartingWeights | None, frozen: int, architecture: str, networks: tuple[nn.Module, nn.Module]
) -> None:
    """Refuse weights and freezing that `transfer_weights` or `freeze` would refuse, before any network is built.

    Raises:
        SonoforgeError: Weights of another architecture or without any that fit, or blocks that cannot be frozen.
    """
    _outer_modules(networks[1], frozen)
    if weights is None:
        return
    if architecture not in weights.architectures:
        raise SonoforgeError(
            f"start_from: {weights.name} holds {' or '.join(weights.architectures)} networks, expected "
            f"{architecture}; choose a recipe of its own architecture"
        )
    for network, theirs in zip(networks, (weights.generator, weights.discriminator), strict=True):
        fitting = _fitting(network.state_dict(), theirs)
        if any(name in fitting for name, _ in network.named_parameters()):
            return
    raise SonoforgeError(
        f"start_from: {weights.name}: found no weight whose position and shape agree with the networks to train, "
        "expected layers of the same width; see width and preset"
    )


def transfer_weights(weights: StartingWeights, generator: nn.Module, discriminator: nn.Module) -> None:
    """Copy the weights that fit, checked by `check_transfer`, into new networks, in place, and log how many they are.

    `freeze` the discriminator first, so that a warning names new layers among the frozen ones.
    """
    pairs = (("generator", generator, weights.generator), ("discriminator", discriminator, weights.discriminator))
    for kind, network, theirs in pairs:
        own = network.state_dict()
        fitting = _fitting(own, theirs)
        for name, value in fitting.items():
            own[name].copy_(value)
        new = {name: parameter for name, parameter in network.named_parameters() if name not in fitting}
        taken = sum(parameter.numel() for name, parameter in network.named_parameters() if name in fitting)
        log.info(
            "%s: %d parameters taken from %s, %d new%s",
            kind, taken, weights.name, sum(parameter.numel() for parameter in new.values()), _layers(new),
        )  # fmt: skip
        if not all(parameter.requires_grad for parameter in new.values()):
            log.warning("some frozen layers are new: they keep their random weights and learn nothing")
        _warn_of_channels(own, theirs, fitting)


def _layers(parameters: Mapping[str, Tensor]) -> str:
    """Name the layers of parameters, six at most: `` (synthesis.layers.3 and 2 more)``."""
    layers = list(dict.fromkeys(re.sub(r"(\.\d+)\..*|\.(weight|bias)$", r"\1", name) for name in parameters))
    more = f" and {len(layers) - 6} more" if len(layers) > 6 else ""
    return f" ({', '.join(layers[:6])}{more})" if layers else ""


def _fitting(own: State, theirs: State) -> dict[str, Tensor]:
    """Return the tensors to transfer, by our names and in our shapes."""
    by_position = {position: theirs[name] for name, position in _positions(theirs).items()}
    numbers = [int(found[1]) for name in own if (found := re.fullmatch(r"synthesis\.layers\.(\d+)\.weight", name))]
    # StyleGAN3's layer that makes the image; other networks call theirs to_image.
    last_layer = f"synthesis.layers.{max(numbers)}" if "synthesis.input.weight" in own else ""
    fitting: dict[str, Tensor] = {}
    for name, position in _positions(own).items():
        adapted = _adapt(name, by_position[position], own[name].shape, last_layer) if position in by_position else None
        if adapted is not None:
            fitting[name] = adapted
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


def _adapt(name: str, value: Tensor, shape: torch.Size, last_layer: str) -> Tensor | None:
    """Return a tensor in this shape, or None; layers at the image are converted between grey and colour."""
    if value.shape == shape:
        return value
    to_image = re.fullmatch(r"synthesis\.to_image\.\d+(\.convolution)?\.(weight|bias)", name)
    if (to_image or name in (f"{last_layer}.weight", f"{last_layer}.bias")) and value.shape[1:] == shape[1:]:
        if (len(value), shape[0]) == (3, 1):  # the luma of the colours
            luma = torch.tensor(LUMA, dtype=value.dtype).view(3, *[1] * (value.ndim - 1))
            return (value * luma).sum(0, keepdim=True)
        if (len(value), shape[0]) == (1, 3):
            return value.expand(shape)
    if name.startswith("from_image.") and value.ndim == 4 and (len(value), *value.shape[2:]) == (shape[0], *shape[2:]):
        # The response to a grey image stays.  At each pass weights are divided by the root of the number of inputs.
        if (value.shape[1], shape[1]) == (3, 1):
            return value.sum(1, keepdim=True) / math.sqrt(3)
        if (value.shape[1], shape[1]) == (1, 3):
            return (value / math.sqrt(3)).expand(shape)
    return None


def _warn_of_channels(own: State, theirs: State, fitting: State) -> None:
    by_position = {position: theirs[name] for name, position in _positions(theirs).items()}
    positions = _positions(own)
    for name in fitting:
        before, now = by_position[positions[name]].shape, own[name].shape
        if before != now:
            axis = int(name.startswith("from_image."))
            log.warning(
                "its images have %d channels and these %d: the weights of the layers at the image are %s",
                before[axis], now[axis],
                ("summed" if axis else "averaged by luma") if now[axis] == 1 else "repeated",
            )  # fmt: skip
            return


def freeze(network: nn.Module, count: int) -> None:
    """Stop the gradient of ``count`` blocks; 0 is allowed for any network.

    A discriminator's are those nearest the image, with the layers by which the image enters them; a generator's the
    coarsest ones, from the latent vector on.

    Raises:
        SonoforgeError: A network without such blocks, or with fewer.
    """
    for module in _outer_modules(network, count):
        module.requires_grad_(False)


def _outer_modules(network: nn.Module, count: int) -> list[nn.Module]:
    if count == 0:
        return []
    what, blocks, images = "freeze_discriminator", list[nn.Module](), list[nn.Module]()
    if isinstance(network, Discriminator):
        blocks = list(network.blocks)
        images = [network.from_image]
    elif isinstance(network, stylegan1.Discriminator):  # whose blocks are numbered from the smallest
        blocks = list(network.blocks)[::-1]
        images = list(network.from_image)[::-1][:count]
    elif isinstance(network, projected.Generator):
        what, blocks = "freeze_generator", [network.first, *network.blocks]
    elif hasattr(network, "latent_size"):
        raise SonoforgeError(
            "freeze_generator: found a recipe whose generator has no blocks to freeze, expected projected; leave it out"
        )
    else:
        raise SonoforgeError(
            "freeze_discriminator: found a recipe whose discriminator has no blocks to freeze, expected one of "
            "stylegan1, stylegan2, stylegan3-t, stylegan3-r; leave it out"
        )
    if count > len(blocks):
        raise SonoforgeError(f"{what}: found {count}, expected at most {len(blocks)}, its number of blocks")
    return [*images, *blocks[:count]]


# Each class continues with its own weights, found by its name; a new one starts with the mean of all.
WEIGHT = r"\.parametrizations\.weight\.original"


class _Axis(NamedTuple):
    """The axis on which a layer's spectrally normalised weight has its classes, at the end."""

    layer: str  # pattern of its name
    classes: int  # the axis of the classes
    outputs: int  # the axis of the outputs, the rows of the normalisation


# Of the networks of the recipe ``projected``.
_AXES = (
    _Axis(r"first\.0", 0, 1),  # a transposed convolution, into which the class goes after the latents
    _Axis(r".+\.(scale|shift)", 1, 0),
    _Axis(r".+\.class_rows", 0, 0),
)


def for_classes(state: State, theirs: Sequence[str], ours: Sequence[str]) -> dict[str, Tensor]:
    """Return all tensors of a light generator or a projected discriminator with our classes in place of theirs.

    The normalisation of a changed weight is estimated anew.
    """
    changed = dict(state)
    for name, value in state.items():
        for axis in _AXES:
            if found := re.fullmatch(f"({axis.layer}){WEIGHT}", name):
                weight = _chosen(value, axis.classes, theirs, ours)
                changed[name] = weight
                stem = f"{found[1]}.parametrizations.weight.0"
                if f"{stem}._u" in state:
                    changed[f"{stem}._u"], changed[f"{stem}._v"] = _singular_vectors(weight, axis.outputs)
    return changed


def with_classes(weights: StartingWeights | None, classes: Sequence[str]) -> StartingWeights | None:
    """Return weights to start from in the order of these classes.

    They stay unchanged where either side has no classes, both have the same, or the networks are not those of `_AXES`.
    """
    if weights is None or not classes or weights.classes in ((), tuple(classes)):
        return weights
    if weights.architectures != ("projected",):
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


def _chosen(weight: Tensor, axis: int, theirs: Sequence[str], ours: Sequence[str]) -> Tensor:
    count = weight.shape[axis] - len(theirs)
    shared, own = weight.split([count, len(theirs)], axis)
    mean = own.mean(axis, keepdim=True)
    parts = [own.narrow(axis, theirs.index(name), 1) if name in theirs else mean for name in ours]
    return torch.cat([shared, *parts], axis)


def _singular_vectors(weight: Tensor, outputs: int) -> tuple[Tensor, Tensor]:
    """Return the first left and right singular vectors of a weight, one row an output, as torch estimates them."""
    matrix = weight.movedim(outputs, 0).flatten(1)
    left = normalize(matrix.sum(1) + 1e-3, dim=0)
    right = normalize(matrix.T @ left, dim=0)
    for _ in range(FIRST_STEPS):
        left = normalize(matrix @ right, dim=0)
        right = normalize(matrix.T @ left, dim=0)
    return left, right

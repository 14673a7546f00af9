"""Define regularisers, which stabilise a network's training in addition to its loss.

A new regulariser is a row of `REGULARISERS`: a penalty added to a network's loss, or a correction of the
discriminator's weights after its step.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from sonoforge.models.stylegan.generator import has_styles, mix_styles


class Batch(NamedTuple):
    """One batch of an update, as penalties see it."""

    real: Tensor  # (N, C, S, S) real images in [-1, 1], augmented
    fake: Tensor  # (N, C, S, S) generated images, augmented, detached; `real` until they are made
    latents: Tensor  # (N, Z) of `fake`
    labels: Tensor | None  # (N,) int64 classes of both, or None where there is no conditioning
    mix: Tensor  # (N, 1, 1, 1) in [0, 1), drawn for the batches of all processes together
    image_channels: int  # channels that are image; those after them are masks
    chance: torch.Generator  # source of random numbers of this update, on the images' device
    number: int = 0  # of the discriminator update


State = dict[str, Tensor]
# (network, batch, state) to a scalar, multiplied by the recipe's weight; it may update the state.
Penalty = Callable[[nn.Module, Batch, State], Tensor]


class Regulariser(NamedTuple):
    """One regulariser."""

    of: Literal["generator", "discriminator"]  # the network it acts on
    penalty: Penalty | None = None
    # (network, weight) called after each of the network's steps.
    after_step: Callable[[nn.Module, float], None] | None = None
    start: Mapping[str, float] = {}  # the state's initial values by name
    weight: float = 1.0  # published default of its weight
    needs: tuple[str, ...] = ()  # names in `settings.NEEDS`


@torch.no_grad()
def clip_weights(network: nn.Module, limit: float) -> None:
    """Clip every parameter to [-limit, limit] in place; the paper: 0.01.

    Arjovsky, Chintala, Bottou, "Wasserstein GAN", ICML 2017, algorithm 1.
    """
    parameters: list[Tensor] = [*network.parameters()]
    torch._foreach_clamp_min_(parameters, -limit)
    torch._foreach_clamp_max_(parameters, limit)


def _slope(discriminator: nn.Module, images: Tensor, labels: Tensor | None) -> Tensor:
    """Return the gradient (N, C, S, S) of each image's score."""
    images.requires_grad_(True)
    score, _ = discriminator(images, labels)
    (gradient,) = torch.autograd.grad(score.sum(), images, create_graph=True)
    return gradient


def gradient_penalty(discriminator: nn.Module, batch: Batch, _: State) -> Tensor:
    """Push the critic's slope to 1 between real and generated images.

    Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017, algorithm 1, lines 4 to 7.  The critic has
    no batch normalisation, because each image needs its own slope (section 4).
    """
    gradient = _slope(discriminator, batch.fake.lerp(batch.real, batch.mix), batch.labels)
    norms: Tensor = gradient.flatten(1).norm(dim=1)
    return (norms - 1).square().mean()


def r1(discriminator: nn.Module, batch: Batch, _: State) -> Tensor:
    """Return half the mean squared gradient norm on real images; the weight is the paper's gamma.

    Mescheder, Geiger, Nowozin, "Which Training Methods for GANs do actually Converge?", ICML 2018, equation 9.
    """
    return 0.5 * _slope(discriminator, batch.real.detach(), batch.labels).square().sum(dim=(1, 2, 3)).mean()


def orthogonal(generator: nn.Module, batch: Batch, _: State) -> Tensor:
    """Return the summed squared products of each layer's different filters, leaving their lengths free.

    Brock, Donahue, Simonyan, ICLR 2019, section 3.1, equation 3: the off-diagonal part of W W^T, where W has a row for
    each output.  Class embeddings are left out, as in the authors' code.
    """
    del batch
    embedded = {
        id(own) for module in generator.modules() if isinstance(module, nn.Embedding) for own in module.parameters()
    }
    weights = [own.flatten(1) for own in generator.parameters() if own.ndim > 1 and id(own) not in embedded]
    products = [weight @ weight.T for weight in weights]
    return torch.stack([own.square().sum() - own.diagonal().square().sum() for own in products]).sum()


# Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, section 3.2: equal steps in the
# latent space should change the image equally much.
DECAY = 0.99  # of the moving average: appendix B
SHRINK = 2  # the penalty takes half a batch: the authors' code, to save memory


def path_lengths(images: Tensor, latents: Tensor, noise: Tensor) -> Tensor:
    """Return the length of J^T y at each latent (Karras 2020, equation 4): the root mean square over its L rows, (N,).

    Args:
        images: (N, C, S, S) made from ``latents``, with the graph between them.
        latents: (N, L, W): L rows of W numbers for each image.
        noise: (N, C, S, S) standard normal; divided here by S, so that the length does not depend on the resolution.
    """
    projected = (images * noise).sum() / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad(projected, latents, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()


def path_length(generator: nn.Module, batch: Batch, state: State) -> Tensor:
    """Return the mean squared deviation of the lengths from their average, updated first (equation 4)."""
    count = max(1, len(batch.latents) // SHRINK)
    latents = batch.latents[:count].detach()
    labels = None if batch.labels is None else batch.labels[:count]
    if has_styles(generator):
        styled: Any = generator
        # As in any pass of the training: some styles mixed, noise random.
        rows = mix_styles(styled.mapping, styled.mapping(latents, labels), labels, styled.mixing, batch.chance)
        images = styled.synthesise(rows, batch.chance)
    else:  # without styles, the latent is the one row
        rows = latents[:, None].requires_grad_(True)
        images = generator(rows[:, 0], labels)
    noise = torch.randn(images.shape, generator=batch.chance, device=images.device)
    lengths = path_lengths(images, rows, noise)
    average = state["path_length"].lerp(lengths.mean(), 1 - DECAY)
    state["path_length"] = average.detach()
    return (lengths - average).square().mean()


MAPS_CHANGED = 0.05  # standard deviation of the noise on the maps, whose own is 1


def reconstruction(generator: nn.Module, batch: Batch, state: State) -> Tensor:
    """Return the mean absolute difference between images and what the decoder makes of their maps with a little noise.

    It keeps a decoder that learns from its drawings the inverse of the encoder.
    """
    del state
    coder: Any = generator.autoencoder
    images = batch.real[:, : batch.image_channels]
    with torch.no_grad():
        maps = coder.encode(images)
        maps += MAPS_CHANGED * torch.randn(maps.shape, generator=batch.chance, device=maps.device)
    difference: Tensor = (coder.decode(maps) - images).abs().mean()
    return difference


REGULARISERS: dict[str, Regulariser] = {
    "weight-clipping": Regulariser("discriminator", after_step=clip_weights, weight=0.01),
    "gradient-penalty": Regulariser("discriminator", penalty=gradient_penalty, weight=10.0),
    "r1": Regulariser("discriminator", penalty=r1, weight=10.0),
    "reconstruction": Regulariser("generator", penalty=reconstruction, weight=20.0, needs=("polish",)),
    "orthogonal": Regulariser("generator", penalty=orthogonal, weight=1e-4),
    "path-length": Regulariser(
        "generator", penalty=path_length, start={"path_length": 0.0}, weight=2.0, needs=("latents alone",)
    ),
}

"""Define the losses: adversarial ones, and added terms on class labels and feature maps.

A new adversarial loss is a row of `LOSSES`, or ``LOSS`` of a user's own recipe. Scores are (N,) floats before any
sigmoid, larger if an image looks more real; BEGAN's are reconstruction errors instead.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, l1_loss, mse_loss, relu, softplus

from sonoforge.models import began, layers
from sonoforge.runtime.errors import SonoforgeError, check_known
from sonoforge.training import own_code
from sonoforge.training.evaluation.features import Features

State = Mapping[str, Tensor]


class Loss(NamedTuple):
    """A pair of scalar functions, and the state that they carry from step to step."""

    discriminator: Callable[[Tensor, Tensor, State], Tensor]  # (real scores, fake scores, state) to a scalar
    generator: Callable[[Tensor, State], Tensor]  # (fake scores, state) to a scalar
    start: Mapping[str, float] = {}  # the state's initial values by name; empty for most
    # (mean real score, mean fake score, state) to the next state, after a step of both networks.
    update: Callable[[Tensor, Tensor, State], dict[str, Tensor]] | None = None
    signed: bool = True  # whether 0 is the boundary between generated and real, which ADA's heuristic needs
    reconstruction: bool = False  # whether the scores are reconstruction errors
    velocity: bool = False  # whether the generator's takes squared errors of a velocity; nothing is scored
    needs: tuple[str, ...] = ()  # names in `settings.NEEDS`


def _cross_entropy(real: Tensor, fake: Tensor, _: State) -> Tensor:
    """Use target 1 for real and 0 for generated (Goodfellow et al., "Generative Adversarial Nets", 2014, equation 1).

    -log sigmoid(x) = softplus(-x) and -log(1 - sigmoid(x)) = softplus(x), without overflow.
    """
    return softplus(-real).mean() + softplus(fake).mean()


# Berthelot, Schumm, Metz, "BEGAN", 2017.  A proportional controller keeps the generated images' reconstruction error at
# a share gamma of the real ones' (section 3.4): k <- clip(k + lambda_k (gamma L(x) - L(G(z))), 0, 1), and
# M = L(x) + |gamma L(x) - L(G(z))| measures convergence (section 3.4.1).
GAMMA = 0.5  # diversity ratio: section 4.2 tries 0.3 to 0.7 on faces; 0.5 is its middle one
LAMBDA_K = 0.001  # section 3.4


def _follow_equilibrium(real: Tensor, fake: Tensor, state: State) -> dict[str, Tensor]:
    """Move k towards equilibrium, and measure convergence, from the mean reconstruction errors."""
    balance = GAMMA * real - fake
    return {"k": (state["k"] + LAMBDA_K * balance).clamp(0.0, 1.0), "convergence": real + balance.abs()}


LOSSES: dict[str, Loss] = {
    # Maximise log D(G(z)) (Goodfellow 2014, section 3): strong gradients while the discriminator wins.
    "bce": Loss(_cross_entropy, lambda fake, _: softplus(-fake).mean()),
    # Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017, equation 9: target c = 1 for generated.
    # Its discriminator's targets are b = 1 for real and a = 0 for generated: the 0-1 coding of section 3.2.3.
    "least-squares": Loss(
        lambda real, fake, _: 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean(),
        lambda fake, _: 0.5 * (fake - 1).square().mean(),
        signed=False,
    ),
    # Arjovsky, Chintala, Bottou, "Wasserstein GAN", ICML 2017, equation 2 and algorithm 1: the negative of the
    # estimated distance, by a critic that some regulariser keeps Lipschitz.
    "wasserstein": Loss(lambda real, fake, _: fake.mean() - real.mean(), lambda fake, _: -fake.mean(), signed=False),
    # Lim and Ye, "Geometric GAN", 2017; in this form Miyato et al., ICLR 2018, equations 16 and 17.
    "hinge": Loss(lambda real, fake, _: relu(1 - real).mean() + relu(1 + fake).mean(), lambda fake, _: -fake.mean()),
    # Hjelm et al., "Boundary-Seeking Generative Adversarial Networks", ICLR 2018, section 3 (continuous variables):
    # half the mean of (log D - log(1 - D))^2; that difference is the score itself.
    "boundary-seeking": Loss(_cross_entropy, lambda fake, _: 0.5 * fake.square().mean()),
    "began": Loss(
        lambda real, fake, state: real.mean() - state["k"] * fake.mean(),
        lambda fake, _: fake.mean(),
        start={"k": 0.0, "convergence": 0.0},  # k_0: section 3.4
        update=_follow_equilibrium,
        signed=False,
        reconstruction=True,
        needs=("reconstruction errors",),
    ),
    # Lipman et al., "Flow Matching for Generative Modeling", ICLR 2023, equation 23.
    "flow-matching": Loss(
        lambda real, fake, _: (real - fake).square().mean(),
        lambda errors, _: errors.mean(),
        signed=False,
        velocity=True,
        needs=("velocity",),
    ),
}


def find_loss(name: str) -> Loss:
    """Return the loss of this name, or of the user's own code.

    Raises:
        SonoforgeError: There is none.
    """
    if name in LOSSES:
        return LOSSES[name]
    if not own_code.is_own(name):
        check_known("loss", name, LOSSES)
    own, module = own_code.run(name)
    if not isinstance(module.LOSS, Loss):
        raise SonoforgeError(f"{own.file}: LOSS must be a sonoforge.training.gan.losses.Loss, not {module.LOSS!r}")
    return module.LOSS


# How class labels enter.  ``projection``: in the discriminator's score alone (Miyato and Koyama, "cGANs with Projection
# Discriminator", ICLR 2018).  ``auxiliary``: the discriminator predicts the class as well (Odena, Olah, Shlens,
# "Conditional Image Synthesis with Auxiliary Classifier GANs", ICML 2017).  ``concatenation``: the label is appended to
# its input (Mirza and Osindero, "Conditional Generative Adversarial Nets", 2014): BEGAN's autoencoder.
CONDITIONINGS = tuple(dict.fromkeys((*layers.CONDITIONINGS, *began.CONDITIONINGS)))  # each once, in order


def class_loss(class_logits: Tensor | None, labels: Tensor | None) -> Tensor | float:
    """Return the cross-entropy of class logits (N, K) (Odena 2017, equation 3: L_C); 0 without classes.

    Both networks minimise it, the discriminator on real and generated images; ``labels`` (N,) int64 are the true or
    requested classes.
    """
    if class_logits is None or labels is None:
        return 0.0
    return cross_entropy(class_logits.float(), labels)


def feature_matching(discriminator: nn.Module, fake: Tensor, real: Tensor) -> Tensor:
    """Return the mean absolute difference of hidden maps, summed over a scale's layers, averaged over scales.

    Wang, Liu, Zhu, Tao, Kautz, Catanzaro, "High-Resolution Image Synthesis and Semantic Manipulation with Conditional
    GANs", CVPR 2018, equation 4; SPADE (Park 2019) has it too.  Each pair of samples must have the same label map, and
    the discriminator needs ``feature_maps`` (`spade.Discriminator`).  Gradients reach only generated images.
    """
    own: Any = discriminator
    with torch.no_grad():
        wanted = own.feature_maps(real)
    seen = own.feature_maps(fake)
    scales = [
        torch.stack([l1_loss(a, b) for a, b in zip(maps[:-1], like[:-1], strict=True)]).sum()
        for maps, like in zip(seen, wanted, strict=True)
    ]
    return torch.stack(scales).mean()


TINY = 1e-12  # for feature maps that are 0 everywhere


def perceptual_loss(features: Features, fake: Tensor, real: Tensor, image_channels: int) -> Tensor:
    """Return the mean squared distance of pretrained feature maps of generated and real images, pair by pair.

    DGAN-WP-TL (Ryspayeva and Salykova 2025) weights a perceptual loss by lambda in {0.5, 3, 5, 7, 10}, with 5 the best;
    its abstract does not say which network, layers or distance, and its references suggest an ImageNet VGG. Layers and
    distance follow Johnson 2016 ("Perceptual Losses for Real-Time Style Transfer and Super-Resolution"), equation 2:
    the squared Euclidean distance divided by C'H'W'; here averaged over pairs, then over layers.

    Images are paired by position in the batch. SPADE's pairs share a label map; others are random: up to a constant,
    the expected distance is that to the *mean* feature map of real images, and pulls all towards the average. Distances
    differ tenfold between networks, so each layer's is divided by the mean square of the real images' maps; the
    published lambdas need not mean the same here. Gradients reach only ``fake``; channels after the image channels are
    masks and are ignored.

    Returns:
        Scalar, at least 0, not yet weighted.
    """
    with torch.no_grad():
        wanted = features.maps(real[:, :image_channels])
    seen = features.maps(fake[:, :image_channels])
    layers = [mse_loss(a, b) / b.square().mean().clamp_min(TINY) for a, b in zip(seen, wanted, strict=True)]
    return torch.stack(layers).mean()

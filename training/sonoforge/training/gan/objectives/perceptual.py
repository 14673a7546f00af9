"""The perceptual term: a distance between generated and real images in a pretrained network's features.

From DGAN-WP-TL (Ryspayeva and Salykova 2025, on its loss functions), which adds to the generator's adversarial loss
lambda times a perceptual loss on the features of a VGG network trained on ImageNet: lambda in {0.5, 3, 5, 7, 10}, 5 the
best.  Of the paper we know the abstract alone, which names neither the layers nor the distance.  Ours are those of
Johnson 2016 ("Perceptual Losses for Real-Time Style Transfer and Super-Resolution") for VGG16; see
``metrics/features.py`` for these and for the smaller networks.

No generated image has a real counterpart, so images are paired by position in the batch, that is, at random.  The
expectation over such pairs is the squared distance to the *mean* feature map of the real images, plus a constant: the
term pulls every image towards the average one.  Diversity is left to the adversarial loss.

The raw distance is another with each network: on the same images SqueezeNet's maps give more than ten times the
value that MobileNetV2's give.  So each layer's is divided by the mean square of the real images' maps.  The published
lambdas are of a distance whose scale is not known, so ours need not mean the same.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from sonoforge.training.metrics.features import Features

TINY = 1e-12  # for feature maps that are 0 everywhere


def perceptual_loss(features: Features, fake: Tensor, real: Tensor, image_channels: int) -> Tensor:
    """Mean squared distance between the feature maps of generated and real images, pair by pair.

    Johnson 2016, equation 2: for one layer and one pair the squared Euclidean distance divided by C'H'W';
    here the mean over pairs, divided by the mean square of the real images' maps, then the mean over
    layers.  Not yet weighted: the caller multiplies by lambda.

    Args:
        features: From `sonoforge.training.metrics.features.open_features`.
        fake: (N, C, S, S) float in [-1, 1]; gradients reach it.
        real: (N, C, S, S) float in [-1, 1]; no gradients reach it.
        image_channels: 1 (grey) or 3 (RGB); later channels are masks and are ignored.

    Returns:
        Scalar, 0 or more.

    Raises:
        ValueError: Batches of different shapes, or images of neither 1 nor 3 channels.
    """
    if fake.shape != real.shape:
        raise ValueError(f"perceptual loss: found {tuple(fake.shape)} and {tuple(real.shape)}, expected equal shapes")
    with torch.no_grad():
        wanted = features.maps(real[:, :image_channels])
    seen = features.maps(fake[:, :image_channels])
    layers = [mse_loss(a, b) / b.square().mean().clamp_min(TINY) for a, b in zip(seen, wanted, strict=True)]
    return torch.stack(layers).mean()

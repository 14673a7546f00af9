"""Class labels in generators and discriminators.

A generator gets the class one-hot beside the latent vector (Mirza and Osindero, "Conditional Generative Adversarial
Nets", 2014; Odena, Olah, Shlens, "Conditional Image Synthesis with Auxiliary Classifier GANs", ICML 2017).  A learned
embedding would add nothing: the first layer is linear, so its columns for the one-hot part are one already.

A discriminator scores its last features in one of three ways:

* ``"none"``: without the class;
* ``"projection"``: the score of an image of class y is increased by the inner product of a learned embedding of y with
  the features (Miyato and Koyama, "cGANs with Projection Discriminator", ICLR 2018, equation 11);
* ``"auxiliary"``: it also predicts the class, by linear logits of the features (Odena 2017, section 3).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

CONDITIONINGS = ("none", "projection", "auxiliary")


def one_hot(labels: Tensor | None, classes: int, dtype: torch.dtype) -> Tensor:
    """Return (N, K) with a 1 at each label, of (N,) int64 in [0, K); missing labels are a ValueError."""
    if labels is None:
        raise ValueError(f"labels: found None, expected (N,) int64 below {classes}: the network is conditional")
    return nn.functional.one_hot(labels, classes).to(dtype)


def append_labels(latents: Tensor, labels: Tensor | None, classes: int) -> Tensor:
    """Return latents (N, Z) with their one-hot labels: (N, Z + K); latents alone without classes."""
    if classes == 0:
        return latents
    return torch.cat([latents, one_hot(labels, classes, latents.dtype)], 1)


def check_conditioning(conditioning: str, classes: int, known: tuple[str, ...] = CONDITIONINGS) -> None:
    """Refuse an unknown conditioning, or one on classes without any.

    Raises:
        ValueError: Either of these.
    """
    if conditioning not in known:
        raise ValueError(f"conditioning: found {conditioning!r}, expected one of {', '.join(known)}")
    if conditioning != "none" and classes == 0:
        raise ValueError(f"classes: found 0, expected at least 1 with conditioning {conditioning!r}")


class ScoreHead(nn.Module):
    """The last layer of a discriminator: features to score and class logits.

    Args:
        features: Length F of the feature vector.
        classes: See `sonoforge.models`.
        conditioning: One of `CONDITIONINGS`.
        linear: Makes a linear layer from inputs, outputs and ``bias``.
    """

    def __init__(
        self, features: int, classes: int, conditioning: str, linear: Callable[..., nn.Module] = nn.Linear
    ) -> None:
        super().__init__()
        check_conditioning(conditioning, classes)
        self.conditioning = conditioning
        self.classes = classes
        self.score = linear(features, 1)
        if conditioning != "none":
            # One row a class: its embedding, or the weights of its logit.
            self.class_rows = linear(features, classes, bias=conditioning == "auxiliary")

    def forward(self, features: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Features (N, F) to scores (N,), and class logits (N, K), only for ``"auxiliary"``; see `ScoredLayers`."""
        score: Tensor = self.score(features).squeeze(1)
        if self.conditioning == "none":
            return score, None
        products: Tensor = self.class_rows(features)
        if self.conditioning == "auxiliary":
            return score, products
        return score + (products * one_hot(labels, self.classes, products.dtype)).sum(1), None


class ScoredLayers(nn.Module):
    """A discriminator: image to features, then by ``head`` to one score, large where the image looks real."""

    layers: nn.Sequential
    head: ScoreHead

    def features(self, images: Tensor) -> Tensor:
        """Images (N, C, S, S) in [-1, 1] to features (N, F)."""
        features: Tensor = self.layers(images)
        return features

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Images (N, C, S, S) in [-1, 1] to scores (N,), and class logits (N, K), only for ``"auxiliary"``.

        Labels (N,) int64 are needed only by ``"projection"``.
        """
        answer: tuple[Tensor, Tensor | None] = self.head(self.features(images), labels)
        return answer

"""SNGAN: a discriminator kept Lipschitz by spectral normalisation alone.

Miyato, Kataoka, Koyama, Yoshida, "Spectral Normalization for Generative Adversarial Networks", ICLR 2018, appendix B.4,
table 3, the plain networks.  Generator: latents to 4x4x512, transposed 4x4 convolutions of stride 2 with batch
normalisation and ReLU, a last 3x3 convolution and tanh.  Discriminator: at each side a 3x3 convolution, then a 4x4 one
of stride 2, then a last 3x3 convolution and a linear layer, all normalised, with leaky ReLU of slope 0.1.

Generalised to sizes other than 32 as `dcgan` is: 64 channels at the largest side, doubled at each halving, up to 512.
"""

from itertools import pairwise

from torch import nn

from sonoforge.models import doublings, smallest_side
from sonoforge.models.dcgan import DenseGenerator
from sonoforge.models.layers import Architecture, ScoredLayers, ScoreHead, convolution, normalised

WIDTH, WIDEST, SLOPE = 64, 512, 0.1


def _widths(image_size: int, width: int) -> list[int]:
    """Channels at each side from the image's to the smallest."""
    return [
        min(WIDEST * width // WIDTH, width << level)
        for level in range(doublings(image_size, smallest_side(image_size)) + 1)
    ]


class Generator(DenseGenerator):
    """Latent vector, of length 128 in the paper, to image; ``width`` is the channels at the image's side."""

    def __init__(self, image_size: int, channels: int, latent_size: int, classes: int = 0, width: int = WIDTH) -> None:
        widths = _widths(image_size, width)[::-1]
        super().__init__(smallest_side(image_size), widths[0], latent_size, classes)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers.append(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False))
            layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], channels, 3, padding=1), nn.Tanh())


class Discriminator(ScoredLayers):
    """Image to one logit: large where the image looks real."""

    def __init__(
        self, image_size: int, channels: int, classes: int = 0, conditioning: str = "none", width: int = WIDTH
    ) -> None:
        super().__init__()
        widths = _widths(image_size, width)
        layers: list[nn.Module] = [convolution(channels, widths[0], 3), nn.LeakyReLU(SLOPE)]
        for inputs, outputs in pairwise(widths):
            layers += [convolution(inputs, inputs, 4, stride=2), nn.LeakyReLU(SLOPE)]
            layers += [convolution(inputs, outputs, 3), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        features = widths[-1] * smallest_side(image_size) ** 2
        self.head = ScoreHead(
            features, classes, conditioning, lambda *sizes, **options: normalised(nn.Linear(*sizes, **options))
        )


ARCHITECTURES = {"sngan": Architecture(Generator, Discriminator)}

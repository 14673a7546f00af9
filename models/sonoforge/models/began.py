"""BEGAN: a discriminator that is an autoencoder.

Berthelot, Schumm, Metz, "BEGAN: Boundary Equilibrium Generative Adversarial Networks", 2017, figure 1 and the section
on the model architecture: 3x3 convolutions, each followed by an ELU, two at each side, three at the image's; filters
that grow linearly with each down-sampling in the encoder (n, 2n, ...) and stay n in the decoder; down-sampling by
stride 2, up-sampling by the nearest neighbour, down to 8x8; linear layers to and from the embedding; no batch
normalisation, no dropout.  The generator is a decoder too. Decided here, as the text leaves it open: the first
convolution at a new side has the stride and keeps the filters, the second adds n.  With n = 128 and 128x128 images both
networks have 17.27 million weights; the paper counts 17.3 million.  Initial weights are those of the paper's framework:
uniform with variance 2 / (fan-in + fan-out) (Glorot and Bengio, AISTATS 2010), biases 0.  Skip connections and
vanishing residuals are left out.  Classes, which are not in the paper, are constant channels of the discriminator's
input, and one-hot beside its embedding and the latent vector.
"""

import torch
from torch import Tensor, nn

from sonoforge.models import doublings, smallest_side
from sonoforge.models.dcgan import DenseGenerator
from sonoforge.models.layers import Architecture, check_conditioning, draw_weights, one_hot

WIDTH = 128  # filters n of the paper's largest model, for 128x128 images
EMBEDDING = 64  # length of embedding and latent vector in most of the paper's experiments
CONDITIONINGS = ("none", "concatenation")  # its error has no last features to project or classify


def _base_side(image_size: int) -> int:
    """Return 8 as in the paper, or 7 for 224, which cannot be halved to 8."""
    side = smallest_side(image_size)
    return 2 * side if side == 4 else side


def _convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.ELU()]


class Generator(DenseGenerator):
    """Map a latent vector to an image, unbounded as in the paper; also the discriminator's decoder."""

    latent_distribution = "uniform"
    """Latents are drawn uniformly from [-1, 1], as in the paper."""

    def __init__(self, image_size: int, channels: int, latent_size: int, classes: int = 0, width: int = WIDTH) -> None:
        super().__init__(_base_side(image_size), width, latent_size, classes)
        layers = [*_convolution(width, width), *_convolution(width, width)]
        for _ in range(doublings(image_size, self.base)):
            layers += [nn.Upsample(scale_factor=2), *_convolution(width, width), *_convolution(width, width)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1))


class Discriminator(nn.Module):
    """Map an image to its reconstruction error, which is small if the image looks real."""

    def __init__(
        self, image_size: int, channels: int, classes: int = 0, conditioning: str = "none", width: int = WIDTH
    ) -> None:
        super().__init__()
        check_conditioning(conditioning, classes, CONDITIONINGS)
        self.classes = classes if conditioning == "concatenation" else 0
        base = _base_side(image_size)
        levels = doublings(image_size, base) + 1
        layers = _convolution(channels + self.classes, width)
        layers += [*_convolution(width, width), *_convolution(width, width)]
        for level in range(1, levels):
            layers += _convolution(level * width, level * width, stride=2)
            layers += _convolution(level * width, (level + 1) * width)
        self.encoder = nn.Sequential(*layers, nn.Flatten(), nn.Linear(base * base * levels * width, EMBEDDING))
        self.decoder = Generator(image_size, channels, EMBEDDING, self.classes, width)

    def reconstruct(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Encode and decode images (N, C, S, S); ``"concatenation"`` needs their labels (N,) int64."""
        inputs = images
        if self.classes:
            maps = one_hot(labels, self.classes, images.dtype)[:, :, None, None].expand(-1, -1, *images.shape[2:])
            inputs = torch.cat([images, maps], 1)
        reconstructed: Tensor = self.decoder(self.encoder(inputs), labels)
        return reconstructed

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, None]:
        """Return each image's mean absolute reconstruction error (N,), the paper's loss with eta = 1; and None."""
        return (images - self.reconstruct(images, labels)).abs().flatten(1).mean(1), None


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights: Glorot's uniform distribution, biases 0."""
    draw_weights(network, generator, lambda weight: nn.init.xavier_uniform_(weight, generator=generator))


ARCHITECTURES = {
    "began": Architecture(Generator, Discriminator, initialise, reconstruction=True, needs=("reconstruction loss",))
}

"""The DCGAN of the MSc thesis behind the balanced classifier (S. H., Middlesex University, 2024).

The thesis gives the layers: latent 100 -> dense 28x28x256 -> transposed convolutions 28x28x128,
56x56x64, 112x112x32 -> 224x224, tanh; the mirror image as discriminator; batch normalisation and
LeakyReLU in both.  Its drawing of the networks (section 2.3, figure 10) has batch normalisation in every
layer of the discriminator but the last, so in the first one too, where Radford et al. have none.  It
leaves these open; here they follow the original method
(Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks", ICLR 2016):

* kernel 5x5: figure 1 and the authors' released code;
* LeakyReLU slope 0.2: section 4 (there in the discriminator; the thesis has LeakyReLU in both);
* weights from N(0, 0.02), and the scales of batch normalisation from N(1, 0.02): section 4 and the
  authors' code;
* no batch normalisation on the generator's output: section 3;
* batch normalisation of the dense layer over its 256 channels, not over its 200 704 single values:
  section 3 normalises by channel everywhere.

Generalised: any image size that is a multiple of 8 (the thesis: 224), any number of channels (the thesis
does not say), and classes (the thesis trains one pair of networks for each class).
"""

from torch import nn

from sonoforge.models.dcgan import DenseGenerator, Hidden, falling, initialise, rising, upsample
from sonoforge.models.labels import ScoredLayers, ScoreHead

__all__ = ["Discriminator", "Generator", "initialise"]

DOWNSCALE = 8  # three layers of stride 2


def _base_size(image_size: int) -> int:
    if image_size < DOWNSCALE or image_size % DOWNSCALE:
        raise ValueError(f"image_size: found {image_size}, expected a multiple of {DOWNSCALE}")
    return image_size // DOWNSCALE


class Generator(DenseGenerator):
    """Latent vector to image.

    Args beside those of `sonoforge.models`; the image's side is a multiple of 8:
        activation: Of the hidden layers, see `layers.ACTIVATIONS`; the thesis: leaky ReLU.
        norm: Of the hidden layers, see `layers.NORMS`; the thesis: batch.
    """

    def __init__(
        self,
        image_size: int = 224,
        channels: int = 3,
        latent_size: int = 100,
        classes: int = 0,
        activation: str = "leaky-relu",
        norm: str = "batch",
    ) -> None:
        super().__init__(_base_size(image_size), 256, latent_size, classes, bias=norm == "none")
        layers = rising([256, 128, 64, 32], [1, 2, 2], Hidden(norm, activation))
        self.layers = nn.Sequential(*layers, upsample(32, channels, bias=True), nn.Tanh())


class Discriminator(ScoredLayers):
    """Image to one logit: large where the image looks real.

    The thesis ends in a sigmoid; here it is part of the loss (BCE with logits), which is the same
    function without its loss of precision near 0 and 1.

    The arguments are the generator's, but for ``conditioning``.
    """

    def __init__(
        self,
        image_size: int = 224,
        channels: int = 3,
        classes: int = 0,
        conditioning: str = "none",
        activation: str = "leaky-relu",
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(*falling([channels, 32, 64, 128], Hidden(norm, activation)), nn.Flatten())
        self.head = ScoreHead(_base_size(image_size) ** 2 * 128, classes, conditioning)

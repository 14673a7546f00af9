"""A blur of the discriminator's input that fades early in the training (StyleGAN3, configuration R).

Karras et al., "Alias-Free Generative Adversarial Networks", NeurIPS 2021, appendix: without it, the discriminator of
configuration R learns early to look at high frequencies only.
"""

import math

from torch import Tensor

from sonoforge.models.torchvision_import import import_torchvision

START = 10.0  # pixels: the standard deviation at the first step, whatever the size of the images
_REACH = 3  # standard deviations on each side


def blur_sigma(images_shown: int, fade: int) -> float:
    """Return the standard deviation in pixels, which falls linearly from `START` to 0 over ``fade`` images, if any."""
    return START * max(0.0, 1.0 - images_shown / fade) if fade else 0.0


def blur(images: Tensor, sigma: float) -> Tensor:
    """Blur (N, C, S, S) by a Gaussian that is cut off at three standard deviations, or at the image's side.

    The border is reflected, so that no dark frame reveals the strength of the blur.
    """
    reach = min(math.floor(_REACH * sigma), images.shape[-1] - 1)
    if reach < 1:
        return images
    blurred: Tensor = import_torchvision().transforms.functional.gaussian_blur(images, [2 * reach + 1] * 2, [sigma] * 2)
    return blurred

"""Show a comparator's networks the lesion alone, as U-Nets of the training fold see it.

These are the stages of Ragab et al., Biology 11 (3), 2022, before its features.  Its abstract names the Wiener filter,
but no way to enhance contrast: here histograms are equalised locally and within limits (CLAHE; Zuiderveld, Graphics
Gems IV, 1994).  The project's U-Net stands for its segmentation, thresholds of Kapur's entropy found by a krill herd.
"""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import wiener

from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.comparators.fitting import Labels, inner_parts
from sonoforge.training.data.labelled_images import HALF
from sonoforge.training.data.pixels import Pixels
from sonoforge.training.segmentation.options import UNETS
from sonoforge.training.segmentation.pairs import Pairs, to_side
from sonoforge.training.segmentation.unet import predict, train_unet

# The U-Nets of `segment --budget quick`, and the side of their images and masks in pixels.
UNET, SIDE = UNETS["quick"], 64


def enhance(pixels: Pixels) -> Pixels:
    """Filter RGB images (N, S, S, 3) over 3 x 3 pixels and enhance their contrast; return grey ones (N, S, S, 1)."""
    equaliser, enhanced = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)), []
    for image in pixels:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        with np.errstate(divide="ignore", invalid="ignore"):
            calm = wiener(grey.astype(np.float64), 3)
        calm = np.where(np.isfinite(calm), calm, grey)  # the filter divides by the variance, which flat images lack
        enhanced.append(equaliser.apply(calm.round().clip(0, 255).astype(np.uint8)))
    return np.stack(enhanced)[..., None]


def outline_lesions(
    images: Pixels, masks: NDArray[np.uint8], labels: Labels, groups: Labels, seed: int, device: torch.device
) -> NDArray[np.bool_]:
    """Return where U-Nets see the lesion in images (N, S, S, 1) uint8, (N, S, S, 1).

    A U-Net of the whole training fold predicts the other images. Its masks of its own training images would be better
    than those, and a classifier would learn from lesions cut out as it never meets them again: so each half of the
    training fold, dealt in whole groups, is predicted by a U-Net of the other.

    Args:
        images: Those of the training fold first.
        masks: Of the M images of the training fold, (M, SIDE, SIDE), covered share of 255.
        labels: Their classes (M,), by which the halves are dealt.
        groups: Their groups (M,).
        seed: Of the halves and U-Nets.
        device: What the U-Nets run on.
    """
    small, maps, count = to_side(images, SIDE), (masks >= HALF).astype(np.uint8), len(masks)
    found = np.empty(small.shape, np.uint8)
    parts = [*inner_parts(labels, groups, seed, 2), (np.arange(count), np.arange(count, len(images)))]
    for number, (learn, asked) in enumerate(parts):
        pairs, own_seed = Pairs(small[learn], maps[learn]), derive_seed(seed, "segmentation", number)
        network = train_unet(pairs, UNET, 1, own_seed, device, augmented=True)
        found[asked, ..., 0] = 255 * predict(network, small[asked], device)
    return to_side(found, images.shape[1]) >= HALF

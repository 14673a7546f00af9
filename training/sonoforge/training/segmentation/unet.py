"""Train the judge: a U-Net that learns label maps from pairs and predicts them for images.

Ronneberger, Fischer, Brox, MICCAI 2015, in MONAI's implementation (`BasicUNet`: four halvings, instance normalisation,
LeakyReLU; padded, and with all channels after the last up-convolution, unlike the published one).  Its levels have the
published channels, 64 to 1024, at budget ``full``, see `options.UNETS`.  The loss is the sum of cross-entropy and 1 -
Dice of the structures, as in Isensee et al., Nature Methods 18, 2021 (nnU-Net), "loss function".  It uses the last
weights: none are selected on any image.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.data.pixels import Pixels, to_tensor
from sonoforge.training.devices import deterministic_kernels
from sonoforge.training.gan.training_set import shuffled_epochs
from sonoforge.training.segmentation.options import UnetSettings
from sonoforge.training.segmentation.pairs import Pairs, distort

WARM_UP = 0.1  # share of the steps in which the learning rate rises
WEIGHT_DECAY = 1e-4
PREDICTED = 16  # images in one forward pass


def build_unet(channels: int, structures: int, settings: UnetSettings, seed: int) -> nn.Module:
    """Make a U-Net with initial weights, from images (N, channels, S, S) to logits (N, structures + 1, S, S)."""
    from monai.networks.nets.basic_unet import BasicUNet  # noqa: PLC0415 - an extra, and slow to import

    assert settings.width and settings.widest  # noqa: S101 - filled in
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        levels = [settings.width * max(1, settings.widest >> halvings) for halvings in (4, 3, 2, 1, 0)]
        network: nn.Module = BasicUNet(2, channels, structures + 1, (*levels, settings.width))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def train_unet(
    pairs: Pairs, settings: UnetSettings, structures: int, seed: int, device: torch.device, *, augmented: bool
) -> nn.Module:
    """Train a U-Net on pairs of K ``structures``; the same arguments give the same network, bit for bit on a CPU.

    Every epoch shows each pair once; the number of steps does not depend on the number of pairs.  ``augmented``: each
    batch is distorted, see `pairs.distort`.
    """
    assert settings.steps is not None  # noqa: S101 - filled in
    network = build_unet(pairs.images.shape[3], structures, settings, derive_seed(seed, "U-Net")).to(device)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.steps, pct_start=WARM_UP, cycle_momentum=False
    )
    size = min(settings.batch, len(pairs))
    with deterministic_kernels(device):
        for step in range(settings.steps):
            chosen = shuffled_epochs(len(pairs), step * size, (step + 1) * size, seed, "U-Net order")
            images, maps = to_tensor(pairs.images[chosen]).float() / 255, torch.from_numpy(pairs.maps[chosen]).long()
            if augmented:
                chance = torch.Generator().manual_seed(derive_seed(seed, "U-Net augmentation", step))
                images, maps = distort(images, maps, chance)
            loss = segmentation_loss(network(_normalised(images.to(device))), maps.to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def segmentation_loss(logits: Tensor, maps: Tensor) -> Tensor:
    """Return cross-entropy plus 1 - the mean Dice of the structures, for logits (N, K + 1, S, S) and maps (N, S, S).

    Dice is over the whole batch, because a structure missing from a slice has no Dice there.
    """
    from monai.losses.dice import DiceCELoss  # noqa: PLC0415 - an extra, and slow to import

    dice = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=1, smooth_dr=1)
    loss: Tensor = dice(logits, maps[:, None])
    return loss


@torch.no_grad()
def predict(network: nn.Module, images: Pixels, device: torch.device) -> NDArray[np.uint8]:
    """Return the label maps (N, S, S) uint8 of images (N, S, S, C) uint8."""
    found = [
        network(_normalised((to_tensor(images[first : first + PREDICTED]).float() / 255).to(device)))
        .argmax(1)
        .to(torch.uint8)
        .cpu()
        .numpy()
        for first in range(0, len(images), PREDICTED)
    ]
    return np.concatenate(found)


def _normalised(images: Tensor) -> Tensor:
    """Scale each image to mean 0 and standard deviation 1, because scanners differ in both."""
    mean, deviation = images.mean((1, 2, 3), keepdim=True), images.std((1, 2, 3), keepdim=True)
    return (images - mean) / deviation.clamp_min(1e-3)

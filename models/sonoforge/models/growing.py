"""A network that grows while it trains: which of its resolutions are used, and how far the newest is faded in.

Karras, Aila, Laine, Lehtinen, "Progressive Growing of GANs for Improved Quality, Stability, and Variation", ICLR
2018, section 2.  Whatever the stage, images go in and out at the full size, so a training loop only sets the stage.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from sonoforge.models.labels import ScoredLayers


class Growing(nn.Module):
    """A network with a stage, full-grown at first; the stage is part of the state dict.

    It begins at ``base`` pixels a side, which is doubled any number of times up to the images'.
    """

    def __init__(self, base: int, image_size: int) -> None:
        super().__init__()
        self.base = base
        self.image_size = image_size
        self.level = (image_size // base).bit_length() - 1  # doublings from the base to the side of its stage
        self.alpha = 1.0  # weight of the newest layers, 0 to 1

    @property
    def resolution(self) -> int:
        """Side in pixels at which the network works in its current stage."""
        return self.base << self.level

    def set_stage(self, resolution: int, alpha: float) -> None:
        """Choose how far the network has grown.

        Args:
            resolution: Side in pixels: the base doubled, up to the image size.
            alpha: Weight of the newest layers in [0, 1]: 0 as before they were added, 1 when they are faded in.
                Without effect at the base.
        """
        sides = [self.base << level for level in range((self.image_size // self.base).bit_length())]
        if resolution not in sides:
            raise ValueError(f"resolution: found {resolution}, expected one of {', '.join(map(str, sides))}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha: found {alpha}, expected 0 to 1")
        self.level = sides.index(resolution)
        self.alpha = float(alpha)

    def get_extra_state(self) -> Tensor:
        """Return the stage for the state dict: (2,) int64, the side and the bits of alpha as a float64.

        Integers, because a moving average over the floating-point entries must not blend stages; a tensor, because
        the files of a checkpoint hold nothing else.
        """
        alpha = torch.tensor([self.alpha], dtype=torch.float64)
        return torch.cat([torch.tensor([self.resolution]), alpha.view(torch.int64)])

    def set_extra_state(self, state: Tensor) -> None:
        """Take over the stage of a state dict."""
        state = state.cpu()
        self.set_stage(int(state[0]), float(state[1:].view(torch.float64)))


class GrowingDiscriminator(Growing, ScoredLayers):
    """A discriminator that grows."""

    from_image: nn.ModuleList  # for each side from the base on, the layer that an image enters by
    blocks: nn.ModuleList  # each halves the side; the first ones, as many as there are below the base, are always used

    def descend(self, images: Tensor) -> Tensor:
        """Images (N, C, S, S) in [-1, 1] to the smallest maps, through all blocks in use; the newest is faded in."""
        images = avg_pool2d(images, self.image_size // self.resolution)
        maps: Tensor = self.from_image[self.level](images)
        used = list(self.blocks)[: self.level + 1 + len(self.blocks) - len(self.from_image)]
        for number, block in enumerate(reversed(used)):
            maps = block(maps)
            if number == 0 and self.level and self.alpha < 1:
                maps = torch.lerp(self.from_image[self.level - 1](avg_pool2d(images, 2)), maps, self.alpha)
        return maps

    def fade(self, images: Tensor) -> Tensor:
        """Blend real images (N, C, S, S) with their half-size form, as the generator's are in this stage."""
        if self.alpha == 1 or self.level == 0:
            return images
        coarse = avg_pool2d(images, 2 * self.image_size // self.resolution)
        return torch.lerp(interpolate(coarse, self.image_size), images, self.alpha)

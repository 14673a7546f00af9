"""Turn a decoded image into the network's input: one definition, from training to the phone.

Pillow's antialiased filter squeezes the image, or with ``crop`` the scan in it, to an 8-bit square, rows first. Each of
the 256 grey levels then has one float32 value per channel, so all devices feed the same bits.
"""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

    from sonoforge.runtime.images.scan_area import ScanArea

CROPS = ("none", "auto")
"""Whether the network sees the whole image, or the scan that `scan_area.find_scan_area` finds in it."""

FILTERS = ("bilinear", "bicubic")


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become a network's input."""

    size: int = 224  # side S of the square input, in pixels
    resample: str = "bilinear"  # row of `FILTERS`: Pillow's antialiased filter of that name
    # Of each channel (red, green, blue) on the 0..1 scale; those of the ImageNet training images, as torchvision's
    # pretrained weights expect them.
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    crop: str = "none"  # row of `CROPS`

    def scan_area(self, image: Image.Image) -> ScanArea | None:
        """Return where the scan is in an image, or None if the network sees the whole image.

        Training and runtime both crop to it, and masks are cropped with their image.
        """
        if self.crop == "none":
            return None
        from sonoforge.runtime.images.scan_area import find_scan_area  # noqa: PLC0415 - only for bundles that crop

        return find_scan_area(image)

    def seen(self, image: Image.Image) -> Image.Image:
        """Return the part of an image that the network sees, before it is resized."""
        area = self.scan_area(image)
        return image.crop(area.box) if area else image

    def shrink(self, image: Image.Image) -> NDArray[np.uint8]:
        """Squeeze an image of mode ``L`` to (S, S), or of ``RGB`` to (S, S, 3) uint8; the result is read-only.

        Raises:
            ValueError: The image has another mode, which `decoding.read_image` never returns.
        """
        if image.mode not in ("L", "RGB"):
            raise ValueError(f"the image has mode {image.mode}, not L or RGB")
        from PIL.Image import Resampling  # noqa: PLC0415 - the model loads before Pillow

        # Rows first, each pass rounded to 8 bits: by default, Pillow from 13 on chooses the order by the shape.
        narrow = image.resize((self.size, image.height), Resampling[self.resample.upper()])
        return np.asarray(narrow.resize((self.size, self.size), Resampling[self.resample.upper()]))

    def resize(self, image: Image.Image) -> NDArray[np.uint8]:
        """Squeeze an image of mode ``L`` or ``RGB`` to (S, S, 3) uint8, which the caller may change.

        A grey image is resized once and copied to three channels: the same pixels as for RGB, with a third of the work.
        """
        pixels = self.shrink(image)
        return np.stack([pixels, pixels, pixels], axis=2) if pixels.ndim == 2 else pixels.copy()

    def normalise(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Map (S, S, 3) or (N, S, S, 3) uint8 to (3, S, S) or (N, 3, S, S) float32; other arrays raise ValueError.

        Each value is float32((v / 255 - mean) / std), computed in float64 and rounded once.
        """
        if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or pixels.shape[-1] != 3:
            raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, not uint8 (S, S, 3) or (N, S, S, 3)")
        table = _table(self.mean, self.std)
        shape = pixels.shape[:-1]
        result = np.empty((*shape[:-2], 3, *shape[-2:]), np.float32)
        # One channel broadcast to three is turned into indices once; numpy would do it for each.
        grey = pixels[..., 0].astype(np.intp) if pixels.strides[-1] == 0 else None
        for channel in range(3):
            levels = pixels[..., channel] if grey is None else grey
            # No level is out of range: the mode only saves numpy's checks.
            np.take(table[channel], levels, out=result[..., channel, :, :], mode="clip")
        return result

    def to_dict(self) -> dict[str, object]:
        """Return the plain form stored in a bundle's manifest (see `bundle.classification`) and ONNX metadata."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}


@functools.cache
def _table(mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """Return the network's value of each 8-bit level, by channel: (3, 256) float32."""
    levels = np.arange(256, dtype=np.float64) / 255.0
    return np.asarray(((levels - np.array(mean)[:, None]) / np.array(std)[:, None]).astype(np.float32))


IMAGENET = Preprocessing()

"""Measure the image quality of a scan, without onnxruntime or a model."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.reader import Bundle, open_bundle
from sonoforge.runtime.images.decoding import as_image
from sonoforge.runtime.images.quality_metrics import Quality, assess


def measure(
    image: Path | str | Image.Image | NDArray[np.uint8], bundle: Bundle[ClassifierManifest] | None = None
) -> Quality:
    """Measure one scan and flag metrics outside the range of a bundle's training images.

    Examples:
        >>> import numpy as np
        >>> from sonoforge.runtime import quality
        >>> found = quality.measure(np.full((300, 400), 255, np.uint8))
        >>> found.metrics["contrast"], found.metrics["saturated"], "brightness_high" in found.flags
        (0.0, 1.0, True)

    Args:
        image: A file; a Pillow image; or an array (H, W) of grey or (H, W, 3) of red, green and blue, uint8.
        bundle: Source of the ranges and the preprocessing; None opens the shipped one each time.

    Returns:
        The quality, as in `Result.quality`.

    Raises:
        ImageError: The file or picture cannot be used.
        SonoforgeError: The shipped bundle is missing or damaged.
    """
    manifest = (bundle or open_bundle()).manifest
    seen = manifest.preprocessing.seen(as_image(image))
    return assess(manifest.preprocessing.resize(seen), seen.size, manifest.quality)

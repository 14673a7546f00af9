"""The reference bands of image quality in the scans' own pixels, from the training images' files."""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.images import scan_metrics
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.grey_levels import grey_levels
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.training.classifier.model_folder import QualityRange
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.progress import in_threads

_MOST = 256  # images: the 5th percentile then rests on 13, and a training waits some seconds


class ScanBands(TypedDict):
    """5th and 95th percentile of each metric, and of how many images, as ``quality.scan`` of a manifest holds them."""

    count: int
    bands: dict[str, QualityRange]


def scan_bands(cache: ImageCache, indices: NDArray[np.int64], preprocessing: Preprocessing) -> ScanBands:
    """Measure up to 256 evenly spaced images of a training set in their own pixels: their files are read again.

    A metric that none of the images has a value for is left out.
    """
    chosen = indices[evenly_spaced(len(indices), _MOST)]

    def measure(index: int) -> dict[str, float]:
        scan = preprocessing.seen(read_image(cache.dataset.file(cache.dataset.items[index].path)))
        return scan_metrics.measure(grey_levels(scan))

    rows = in_threads(measure, chosen.tolist())
    bands = {}
    for name in rows[0]:
        values = [row[name] for row in rows if np.isfinite(row[name])]
        if values:
            low, high = np.percentile(values, (5, 95)).tolist()
            bands[name] = QualityRange(low=low, high=high)
    return ScanBands(count=len(rows), bands=bands)

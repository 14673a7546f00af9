"""Recognise simulated images by the mark that each file carries, wherever the set was moved to."""

from __future__ import annotations

from PIL import Image

from sonoforge.training.data.datasets import Dataset
from sonoforge.training.phantom.dataset import MARKER


def count_simulated(dataset: Dataset) -> int:
    """Count the images whose file says that `write_phantom_set` made it; others may be simulated, too."""
    count = 0
    for item in dataset.items:
        if item.path.lower().endswith(".png"):
            try:
                with Image.open(dataset.file(item.path)) as image:
                    count += image.info.get("Description") == MARKER
            except OSError:
                continue  # gone since it was decoded
    return count

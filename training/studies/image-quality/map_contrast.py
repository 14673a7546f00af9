"""How does gCNR of the class-activation map's brightest tenth agree with gCNR of the lesion's mask?

    python training/studies/image-quality/map_contrast.py BUSI [--scans 200]

BUSI holds a mask beside each scan; normal scans have no lesion and are left out.  The map's figure is that of
``classify --json``, in the network's view; the mask's that of ``quality``, in the scan's own pixels.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime import Classifier
from sonoforge.runtime.images import scan_metrics
from sonoforge.runtime.inference import activation_map


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0, those of equal values in their order."""
    return np.argsort(np.argsort(values)).astype(np.float64)


def main() -> None:
    """Print the agreement of both figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--scans", type=int, default=200)
    options = parser.parse_args()
    files = sorted(
        file for file in options.data.rglob("*.png") if "_mask" not in file.name and "normal" not in file.parent.name
    )
    chosen = random.Random(0).sample(files, min(options.scans, len(files)))
    classifier = Classifier()
    rows = []
    for file in chosen:
        scan = Image.open(file).convert("L")
        mask = np.asarray(Image.open(file.with_name(f"{file.stem}_mask.png")).convert("L")) > 127
        by_mask = scan_metrics.gcnr(np.asarray(scan), mask)
        answer = classifier.classify(scan)
        area = activation_map.brightest_area(answer.map, scan.width, scan.height)
        by_map = answer.map_gcnr
        if by_map is not None and not np.isnan(by_mask):
            at_own_size = scan_metrics.gcnr(np.asarray(scan), area)
            rows.append((by_mask, by_map, at_own_size, mask[area].mean(), area[mask].mean()))
    mask_figure, map_figure, own_size, precision, recall = np.array(rows).T
    print(f"{len(rows)} of {len(chosen)} scans with both figures")
    for name, figure in (("network's view", map_figure), ("own pixels", own_size)):
        rank = np.corrcoef(ranks(mask_figure), ranks(figure))[0, 1]
        low, middle, high = np.percentile(figure - mask_figure, (10, 50, 90))
        print(f"{name}: rank correlation {rank:.2f}, map minus mask {middle:+.2f} ({low:+.2f} to {high:+.2f})")
    print(f"median gCNR: mask {np.median(mask_figure):.2f}, map {np.median(map_figure):.2f}")
    print(f"median share: of the map's area in the mask {np.median(precision):.2f}, reverse {np.median(recall):.2f}")
    for low, high in ((0, 0.25), (0.25, 0.5), (0.5, 1.01)):
        part = (recall >= low) & (recall < high)
        if part.sum() > 9:
            rank = np.corrcoef(ranks(mask_figure[part]), ranks(map_figure[part]))[0, 1]
            print(f"mask in the area {low} to {min(high, 1)}: {part.sum()} scans, rank correlation {rank:.2f}")


if __name__ == "__main__":
    main()

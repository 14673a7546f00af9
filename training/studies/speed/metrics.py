"""Seconds for the set distances on cached features, ours against torch-fidelity's, in one run.

    python training/studies/speed/metrics.py [--images 1000] [--width 2048] [--rounds 3]

The work of both: FID, KID (100 subsets of 100) and improved precision and recall (k = 3) between two sets of feature
vectors, float32 as a network gives them.  The two sides take turns, so that a busy machine slows both; medians of
all rounds.  Goals: ratio 1.0 at most, and 10 seconds for all three of ours on two cores.  The values of both sides
are printed, too: FID and precision and recall have to agree, KID up to the choice of the subsets.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "support"))
from feature_rows import other_library
from sonoforge.runtime.distances.fid_kid import frechet_distance, subset_kernel_distance
from sonoforge.runtime.distances.neighbours import precision_recall

SUBSETS, SUBSET_SIZE, NEIGHBOURS = 100, 100, 3


def features(count: int, width: int, seed: int, shift: float) -> NDArray[np.float32]:
    """(count, width), 0 or more, correlated as pooled activations are: a few hundred directions hold most of it."""
    mix = np.random.default_rng(0).normal(size=(300, width)) / np.arange(1, 301)[:, None] ** 0.5
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(count, 300)) @ mix + shift + 0.3 * rng.normal(size=(count, width))
    return np.maximum(raw, 0).astype(np.float32) / 4


def tasks(x: NDArray[np.float32], y: NDArray[np.float32]) -> dict[str, tuple[Callable[[], float], Callable[[], float]]]:
    """Return each metric's two functions, ours and torch-fidelity's, that return a figure."""
    fid, kid, prc = (other_library(f"torch_fidelity.metric_{name}") for name in ("fid", "kid", "prc"))
    first, second = torch.from_numpy(x), torch.from_numpy(y)
    subsets = {"kid_subsets": SUBSETS, "kid_subset_size": SUBSET_SIZE, "verbose": False}
    balls = {"prc_neighborhood": NEIGHBOURS, "prc_batch_size": 10_000, "save_cpu_ram": False, "verbose": False}

    def their_fid() -> float:
        statistics_ = [fid.fid_features_to_statistics(part) for part in (first, second)]
        return float(fid.fid_statistics_to_metric(*statistics_, verbose=False)[fid.KEY_METRIC_FID])

    return {
        "fid": (lambda: frechet_distance(x, y), their_fid),
        "kid": (
            lambda: subset_kernel_distance(x, y, SUBSETS, SUBSET_SIZE).value,
            lambda: float(kid.kid_features_to_metric(first, second, **subsets)[kid.KEY_METRIC_KID_MEAN]),
        ),
        "precision": (
            lambda: precision_recall(x, y, NEIGHBOURS)[0],
            lambda: float(prc.prc_features_to_metric(first, second, **balls)["precision"]),
        ),
    }


def main() -> None:
    """Print the seconds of both sides and their ratio as one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    x, y = features(given.images, given.width, 1, 0.1), features(given.images, given.width, 2, 0.0)
    metrics = tasks(x, y)
    seconds: dict[str, list[list[float]]] = {name: [[], []] for name in metrics}
    values: dict[str, list[float]] = {name: [0.0, 0.0] for name in metrics}
    for _ in range(given.rounds):
        for name, pair in metrics.items():
            for side, task in enumerate(pair):
                started = time.perf_counter()
                values[name][side] = task()
                seconds[name][side].append(time.perf_counter() - started)
    medians = {name: [statistics.median(side) for side in sides] for name, sides in seconds.items()}
    rows = {
        name: {
            "ours_s": ours,
            "torch_fidelity_s": theirs,
            "ratio": ours / theirs,
            "ours": values[name][0],
            "torch_fidelity": values[name][1],
        }
        for name, (ours, theirs) in medians.items()
    }
    ours, theirs = (sum(pair[side] for pair in medians.values()) for side in (0, 1))
    total = {"ours_s": ours, "torch_fidelity_s": theirs, "ratio": ours / theirs, "goal_ratio": 1.0, "goal_s": 10.0}
    versions = {name: import_module(name).__version__ for name in ("numpy", "torch", "torch_fidelity")}
    threads = {"torch_threads": torch.get_num_threads(), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "")}
    print(json.dumps({**rows, "total": total, **versions, **threads}, indent=2))


if __name__ == "__main__":
    main()

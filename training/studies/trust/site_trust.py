"""What a site's reach is worth: false alarms on the site's other scans, and foreign pictures that are still told.

    python training/studies/trust/site_trust.py DATA KEEP

DATA holds BUSI, BUS-BRA, BrEaST, BUS-UC and the other collections; KEEP one network of the budget `collections` for
each of the four, trained without it: ``BUSI.safetensors`` and so on.  Limits come from 200 training scans that the
references do not hold; the site gives 40 scans, patients drawn whole, 50 times.  The figures of the README beside this
file.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import foreign_images as foreign
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

from sonoforge.models.mobilenetv2 import OutlineHead, mobilenet_v2
from sonoforge.runtime.bundle.classification import ClassifierManifest, Site, TailLimits
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.images import quality_metrics
from sonoforge.runtime.images.scan_checks import coloured_share, dark_columns, flatness, upright_score
from sonoforge.runtime.inference.adaptation import measure_reach
from sonoforge.runtime.inference.trust import (
    Cause,
    Evidence,
    NeighbourReference,
    TrustReference,
    assess,
    how_far,
    mahalanobis_distances,
    neighbour_distances,
)
from sonoforge.training.classifier.network import answer
from sonoforge.training.classifier.settings import BUDGETS
from sonoforge.training.classifier.trust import FOREIGN, fit_neighbours, fit_reference, tail_limits
from sonoforge.training.data.cache import open_cache
from sonoforge.training.data.load import read_collections
from sonoforge.training.data.splits import make_plan
from sonoforge.training.statistics.results import LEAVE_ONE_OUT

COLLECTIONS = ("BUSI", "BUS-BRA", "BrEaST", "BUS-UC")
TRAINING, KEPT_OUT = 900, 200
SCANS, DRAWS, PICTURES = 40, 50, 40
UNLIKE = {Cause.UNLIKE_TRAINING}
ANY = {*Cause}
Pixels = NDArray[np.uint8]


def main() -> None:
    data, keep = map(Path, sys.argv[1:3])
    settings = BUDGETS["collections"]
    side = settings.preprocessing.size
    cache = open_cache(read_collections([data / name for name in COLLECTIONS]), side)
    sources, patients = np.array(cache.dataset.sources), np.array(make_plan(cache, LEAVE_ONE_OUT).groups)
    pictures = {name: _resized(pixels[:PICTURES], side) for name, pixels in foreign.foreign_images(data).items()}
    for left in COLLECTIONS:
        net = mobilenet_v2(len(cache.dataset.classes))
        net.outline = OutlineHead()
        net.load_state_dict(load_file(keep / f"{left}.safetensors"))

        def embed(pixels: Pixels, net: torch.nn.Module = net) -> NDArray[np.float32]:
            found = answer([net], [pixels], settings.frozen_blocks, torch.device("cpu"), look=settings.look)
            return found.embeddings

        rng = np.random.default_rng(0)
        own, others = np.flatnonzero(sources == left), rng.permutation(np.flatnonzero(sources != left))[:TRAINING]
        spoilt = cache.images[np.sort(rng.permutation(own)[:PICTURES])]
        training, site = embed(cache.images[np.sort(others)]), embed(cache.images[own])
        training = rng.permutation(training)
        references = fit_reference(training[KEPT_OUT:]), fit_neighbours(training[KEPT_OUT:])

        limits = _with_limits(_distances(training[:KEPT_OUT], *references))
        apart = _distances(site, *references)
        times, scans = np.array([how_far(d, k, limits) for d, k in apart.tolist()]), np.arange(len(own))
        seen = _evidence(cache.images[own], apart, limits)
        drawn = [_draw(patients[own], seed) for seed in range(DRAWS)]
        reaches = [measure_reach(times[chosen], patients[own][chosen]).limit for chosen in drawn]
        alarms = [
            _share([seen[i] for i in scans[~np.isin(patients[own], patients[own][chosen])]], limits, reach, UNLIKE)
            for chosen, reach in zip(drawn, reaches, strict=True)
        ]
        print(f"{left}: unlike the training {_share(seen, limits, 1, UNLIKE):.3f}, at the site {np.mean(alarms):.3f}")
        print(f"  reach {np.mean(reaches):.2f}, {np.min(reaches):.2f} to {np.max(reaches):.2f}")
        small = _resized(spoilt, 224)
        bad = {name: _resized(np.stack([f(scan) for scan in small]), side) for name, f in foreign.SPOILT.items()}
        for name, pixels in {**pictures, **bad}.items():
            evidence = _evidence(pixels, _distances(embed(pixels), *references), limits)
            after = [_share(evidence, limits, reach, ANY) for reach in reaches]
            print(f"  {name:20} told {_share(evidence, limits, 1, ANY):.3f}, at the site {np.mean(after):.3f}")


def _distances(
    embeddings: NDArray[np.float32], gaussian: TrustReference, near: NeighbourReference
) -> NDArray[np.float64]:
    """Return both distances of embeddings, (N, 2)."""
    return np.stack([mahalanobis_distances(embeddings, gaussian), neighbour_distances(embeddings, near)], axis=1)


def _draw(patients: NDArray[np.generic], seed: int) -> NDArray[np.int64]:
    order = np.random.default_rng([seed, SCANS]).permutation(np.unique(patients))
    return np.concatenate([np.flatnonzero(patients == patient) for patient in order[:SCANS]])[:SCANS]


def _with_limits(distances: NDArray[np.float64]) -> ClassifierManifest:
    """Return the shipped manifest with limits from distances (N, 2) of held-out scans."""
    manifest = open_bundle().manifest
    trust, near = (TailLimits(*tail_limits(column)) for column in distances.T)
    foreign = trust.median + FOREIGN * (trust.threshold - trust.median)
    checks = manifest.checks._replace(neighbours=near, foreign=foreign)
    return dataclasses.replace(manifest, trust=trust, checks=checks)


def _evidence(pixels: Pixels, distances: NDArray[np.float64], limits: ClassifierManifest) -> list[Evidence]:
    looks = zip(
        upright_score(pixels, limits.checks.upright).tolist(), dark_columns(pixels).tolist(),
        flatness(pixels).tolist(), coloured_share(pixels).tolist(), strict=True,
    )  # fmt: skip
    found = []
    for image, (d, k), (upright, dark, grain, colour) in zip(pixels, distances.tolist(), looks, strict=True):
        found.append(Evidence(d, k, upright, dark, quality_metrics.measure(image, 400, 400), grain, colour))
    return found


def _share(evidence: list[Evidence], limits: ClassifierManifest, reach: float, causes: set[Cause]) -> float:
    """Return the share of images with one of the causes at a site; of reach 1, at none."""
    site = Site(dict.fromkeys(limits.classes, 1 / len(limits.classes)), {}, SCANS, (), (), reach)
    adapted = dataclasses.replace(limits, site=site)
    return float(np.mean([bool(causes & {*assess(one, adapted).causes}) for one in evidence]))


def _resized(pixels: Pixels, side: int) -> Pixels:
    size, how = (side, side), Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(image).resize(size, how)) for image in pixels])


if __name__ == "__main__":
    main()

"""Do generated *features* help where scans are few?  Benign against malignant, from 25 to 100 scans of each class.

    python training/studies/where-it-helps/generated_features.py BUSI/ BUS-BRA/ BrEaST/ --csv FILE \\
        --weights mobilenet_v2.safetensors

Each collection's patients are halved once: training scans are drawn from one half, five times, and the other half
tests, as do all lesions of the other collections.  A logistic regression sees 64 principal components of MobileNetV2's
features (ImageNet's weights, so no scan has taught them anything).  Each arm adds four vectors for each real one, with
the weight in the loss, and the strength of the regularisation, that three folds by patient *inside the draw* choose:

    copies      the same vectors again: the placebo of weight and number
    noise       real vectors with Gaussian noise of .3 standard deviations
    mixtures    of two real vectors of one class (mixup inside the class)
    gaussian    from one normal distribution a class, its covariance shrunk (Ledoit and Wolf 2004)
    gan         from a small class-conditional GAN of two hidden layers, trained on the draw (or the fold) alone

Figures are means over the draws; intervals resample test patients.  About 15 core-minutes.

``--again`` looks a second time at what gained most, `gaussian` from 25 scans of the first folder: 40 other draws,
without the GAN, against each placebo, with 97 % intervals over patients *and* draws (Student's t).  5 core-minutes.

With ``--start``, a bundle or a run of a flow that draws benign and malignant scans, all scans are seen at `PIXELS`
pixels, as it draws them.  Collections that it was trained on neither train nor test; with `real` and `copies` are

    start       its own drawings, by class: a placebo
    others      real scans of the collections that it was trained on, by class: a placebo
    flow        drawn by it once adapted to the draw (or the fold): `KIMG` thousand images for each scan

The change of `flow` is against the best of all placebos, and ``--again`` looks at it in place of `gaussian`.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from torch import nn

from sonoforge.runtime.errors import GateError
from sonoforge.training.crossval.balancing import GeneratorJob, draw_trained, draw_untrained, train_generators
from sonoforge.training.data.cache import ImageCache, default_folder
from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.pixels import Pixels, prepare_images
from sonoforge.training.data.splits import scan_groups
from sonoforge.training.evaluation.spaces import open_space
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.start_from import refuse_seen_by_start
from sonoforge.training.statistics.classification import weighted_auc
from sonoforge.training.statistics.intervals import group_weights, percentile_interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COUNTS, DRAWS, DOSE, SIDE = (25, 50, 100), 5, 4, 64
PIXELS, KIMG = 64, 0.06
DRAWS_AGAIN, LEVEL_AGAIN = 40, 0.97
WEIGHTS, STRENGTHS = (0.1, 0.3, 1.0), (0.001, 0.01, 0.1, 1.0)
STEPS, BATCH, HIDDEN, LATENT = 500, 32, 128, 16
STARTED = ("real", "copies", "start", "others", "flow")
COLUMNS = ("trained on", "scans of each class", "tested on", "arm", "auc", "low", "high", "change", "change_low")
CHANGES = (*COLUMNS, "change_high")
AGAIN = (*COLUMNS[:3], "placebo", "auc", "change", "low", "high")


class Scans(NamedTuple):
    """Lesions of one collection: features (N, D), whether malignant (N,), patients (N,), places among all (N,)."""

    features: Floats
    labels: Ints
    patients: Ints
    places: Ints

    def take(self, chosen: NDArray[np.generic]) -> Scans:
        return Scans(*(column[chosen] for column in self))


Make = Callable[[Scans, np.random.Generator], Floats]
"""Makes `DOSE` vectors for each real one, in the order of the labels, repeated."""
Embed = Callable[[Pixels], Floats]
More = Callable[[PCA], dict[str, Make]]
"""Gives arms in a space of components."""


def read(cache: ImageCache, embed: Embed) -> tuple[Scans, LabelledImages]:
    """Embed a collection's lesions; return these, too."""
    names = np.array([cache.dataset.classes[label] for label in cache.dataset.labels])
    lesions = np.flatnonzero(np.isin(names, ("benign", "malignant")))
    malignant = (names[lesions] == "malignant").astype(np.int64)
    images = LabelledImages.of_set(cache, lesions)
    scans = Scans(embed(images.pixels), malignant, scan_groups(cache)[lesions], np.arange(len(lesions)))
    return scans, dataclasses.replace(images, labels=malignant, classes=("benign", "malignant"))


def was_seen(cache: ImageCache, start: str) -> bool:
    """Whether the start was trained on scans of a collection."""
    try:
        refuse_seen_by_start(start, cache, default_folder())
    except GateError:
        return True
    return False


def noise(real: Scans, rng: np.random.Generator) -> Floats:
    again = np.tile(real.features, (DOSE, 1))
    return again + 0.3 * real.features.std(axis=0) * rng.standard_normal(again.shape)


def mixtures(real: Scans, rng: np.random.Generator) -> Floats:
    def mix(label: int) -> Floats:
        own = real.features[real.labels == label]
        one, other = rng.integers(0, len(own), (2, DOSE * len(own)))
        share = rng.uniform(size=(len(one), 1))
        return share * own[one] + (1 - share) * own[other]

    return by_class(real, mix)


def gaussian(real: Scans, rng: np.random.Generator) -> Floats:
    def draw(label: int) -> Floats:
        own = real.features[real.labels == label]
        return rng.multivariate_normal(own.mean(axis=0), ledoit_wolf(own)[0], DOSE * len(own), method="eigh")

    return by_class(real, draw)


def gan(real: Scans, rng: np.random.Generator) -> Floats:
    """Train on the vectors, scaled to unit variance, by the hinge loss with R1; sample the averaged generator."""
    torch.manual_seed(int(rng.integers(2**31)))
    mean, spread = real.features.mean(axis=0), real.features.std(axis=0) + 1e-6
    vectors = torch.from_numpy((real.features - mean) / spread).float()
    hot = nn.functional.one_hot(torch.from_numpy(real.labels), 2).float()
    side = vectors.shape[1]

    def network(inputs: int, outputs: int) -> nn.Sequential:
        layers = [nn.Linear(inputs, HIDDEN), nn.LeakyReLU(0.2), nn.Linear(HIDDEN, HIDDEN), nn.LeakyReLU(0.2)]
        return nn.Sequential(*layers, nn.Linear(HIDDEN, outputs))

    generator, judge = network(LATENT + 2, side), network(side + 2, 1)
    average = torch.optim.swa_utils.AveragedModel(
        generator, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.98)
    )
    steps = [torch.optim.Adam(own.parameters(), 1e-3, (0.0, 0.9)) for own in (generator, judge)]
    for _ in range(STEPS):
        chosen = torch.randint(len(vectors), (BATCH,))
        seen, label = vectors[chosen].requires_grad_(), hot[chosen]
        drawn = generator(torch.cat([torch.randn(BATCH, LATENT), label], 1))
        true, false = judge(torch.cat([seen, label], 1)), judge(torch.cat([drawn.detach(), label], 1))
        (slope,) = torch.autograd.grad(true.sum(), seen, create_graph=True)
        loss = (1 - true).relu().mean() + (1 + false).relu().mean() + slope.square().sum(1).mean()
        steps[1].zero_grad()
        loss.backward()
        steps[1].step()
        steps[0].zero_grad()
        (-judge(torch.cat([drawn, label], 1)).mean()).backward()
        steps[0].step()
        average.update_parameters(generator)
    with torch.no_grad():
        label = hot.repeat(DOSE, 1)
        sampled = average(torch.cat([torch.randn(len(label), LATENT), label], 1)).double().numpy()
    return mean + spread * sampled


def by_class(real: Scans, draw: Callable[[int], Floats]) -> Floats:
    """Put what is drawn of each class where its labels are, repeated `DOSE` times."""
    labels = np.tile(real.labels, DOSE)
    vectors = np.empty((len(labels), real.features.shape[1]))
    for label in (0, 1):
        vectors[labels == label] = draw(label)
    return vectors


ARMS: dict[str, Make | None] = {
    "real": None,
    "copies": lambda real, rng: np.tile(real.features, (DOSE, 1)),
    "noise": noise,
    "mixtures": mixtures,
    "gaussian": gaussian,
    "gan": gan,
}


def from_start(start: str, images: LabelledImages, others: Scans, embed: Embed) -> More:
    """Return the arms of ``--start`` for the collection of these images."""
    assert images.masks is not None
    masks = images.masks(PIXELS)
    small = dataclasses.replace(images, pixels=prepare_images(images.pixels, PIXELS, 3), masks=lambda side: masks)

    def draw(space: PCA, adapted: bool, real: Scans, rng: np.random.Generator) -> Floats:
        own = small.subset(real.places)
        counts = {label: DOSE * count for label, count in enumerate(own.counts.tolist())}
        settings = GanSettings("flow", "latent", masks=True, start_from=start, kimg=KIMG * len(own), precision="bf16")
        with tempfile.TemporaryDirectory() as folder:
            job = GeneratorJob(settings, int(rng.integers(2**31)), "cpu", Path(folder))
            if adapted:
                drawn = draw_trained(train_generators(own, [*counts], job), counts, own, job.seed)
            else:
                drawn = draw_untrained(counts, own, job)
        vectors = space.transform(embed(drawn.pixels))
        return by_class(real, lambda label: vectors[drawn.labels == label])

    def take(space: PCA, real: Scans, rng: np.random.Generator) -> Floats:
        vectors = space.transform(others.features)
        return by_class(
            real, lambda label: rng.choice(vectors[others.labels == label], DOSE * (real.labels == label).sum())
        )

    return lambda space: {
        "start": functools.partial(draw, space, False),
        "others": functools.partial(take, space),
        "flow": functools.partial(draw, space, True),
    }


def fitted(real: Scans, added: Floats | None, weight: float, strength: float) -> LogisticRegression:
    vectors, labels, weights = real.features, real.labels, np.ones(len(real.labels))
    if added is not None:
        vectors, labels = np.concatenate([vectors, added]), np.tile(labels, 1 + DOSE)
        weights = np.concatenate([weights, np.full(len(added), weight)])
    return LogisticRegression(C=strength, max_iter=300).fit(vectors, labels, weights)


def train(make: Make | None, real: Scans, seed: int) -> LogisticRegression:
    """Choose weight and strength inside the draw, then fit on all of it."""
    choices = [(weight, strength) for weight in (WEIGHTS if make else (0.0,)) for strength in STRENGTHS]
    scores = np.zeros((len(choices), len(real.labels)))
    for fold, (own, rest) in enumerate(GroupKFold(3).split(real.features, groups=real.patients)):
        part = real.take(own)
        added = make(part, np.random.default_rng([seed, fold])) if make else None
        for place, choice in enumerate(choices):
            scores[place, rest] = fitted(part, added, *choice).decision_function(real.features[rest])
    best = int(np.argmax([roc_auc_score(real.labels, row) for row in scores]))
    return fitted(real, make(real, np.random.default_rng([seed, 3])) if make else None, *choices[best])


def draw_scans(pool: Scans, count: int, seed: int) -> Scans:
    """Draw patients until there are so many scans of each class; the last patient of a class in part."""
    rng = np.random.default_rng([seed, count])
    rank = {patient: place for place, patient in enumerate(rng.permutation(np.unique(pool.patients)).tolist())}
    order = np.argsort([rank[patient] for patient in pool.patients.tolist()], kind="stable")
    return pool.take(np.concatenate([order[pool.labels[order] == label][:count] for label in (0, 1)]))


def areas(scores: Floats, labels: Ints, weights: Floats) -> Floats:
    """Area under the ROC curve, the mean over the draws (one row of scores each), for each row of scans' weights."""
    return np.mean([weighted_auc(labels == 1, row, weights) for row in scores], axis=0)


def answers(
    home: Scans,
    tests: dict[str, Scans],
    count: int,
    seeds: Sequence[int],
    arms: Sequence[str],
    more: More | None,
) -> dict[str, dict[str, Floats]]:
    """Return (draws, N) scores by test set and arm."""
    found: dict[str, dict[str, list[Floats]]] = {name: {arm: [] for arm in arms} for name in tests}
    for seed in seeds:
        drawn = draw_scans(home, count, seed)
        space = PCA(min(SIDE, len(drawn.labels) // 2), whiten=True, random_state=0).fit(drawn.features)
        small = drawn._replace(features=space.transform(drawn.features))
        seen = {name: space.transform(test.features) for name, test in tests.items()}
        makes = ARMS | (more(space) if more else {})
        for arm in arms:
            network = train(makes[arm], small, seed)
            for name in tests:
                found[name][arm].append(network.decision_function(seen[name]))
    return {name: {arm: np.stack(rows) for arm, rows in by_arm.items()} for name, by_arm in found.items()}


def halves(own: Scans) -> NDArray[np.bool_]:
    """Which scans (N,) are of the half of the patients that training scans are drawn from."""
    patients = np.random.default_rng(0).permutation(np.unique(own.patients))
    return np.isin(own.patients, patients[: len(patients) // 2])


def first_look(sets: dict[str, Scans], started: dict[str, More]) -> Iterator[tuple[object, ...]]:
    """Yield the area of each arm, and its change against the best of its placebos, with ends over patients."""
    arms = STARTED if started else (*ARMS,)
    for name, own in sets.items():
        pool = halves(own)
        tests = {name: own.take(~pool)} | {other: scans for other, scans in sets.items() if other != name}
        counts = [count for count in COUNTS if np.bincount(own.labels[pool], minlength=2).min() >= count]
        for count in counts:
            by_test = answers(own.take(pool), tests, count, range(DRAWS), arms, started.get(name))
            for tested, by_arm in by_test.items():
                test = tests[tested]
                weights = group_weights(test.patients)
                figures = {arm: areas(scores, test.labels, weights) for arm, scores in by_arm.items()}
                for arm, values in figures.items():
                    placebos = STARTED[:-1] if arm == STARTED[-1] else ("real", "copies")
                    placebo = max(placebos, key=lambda arm: figures[arm][0])
                    area, change = percentile_interval(values), percentile_interval(values - figures[placebo])
                    yield name, count, tested, arm, *area.values(), *change.values()


def second_look(sets: dict[str, Scans], started: dict[str, More]) -> Iterator[tuple[object, ...]]:
    """Yield what the last arm changes against each placebo, with ends over patients and draws."""
    home = next(iter(sets))
    pool, count = halves(sets[home]), COUNTS[0]
    tests = {name: own if name != home else own.take(~pool) for name, own in sets.items()}
    arms = STARTED if started else [arm for arm in ARMS if arm != "gan"]
    seeds = range(DRAWS, DRAWS + DRAWS_AGAIN)
    tail = (1 + LEVEL_AGAIN) / 2
    for tested, by_arm in answers(sets[home].take(pool), tests, count, seeds, arms, started.get(home)).items():
        test = tests[tested]
        weights = group_weights(test.patients)
        of_draws = {
            arm: np.stack([weighted_auc(test.labels == 1, row, weights) for row in scores])
            for arm, scores in by_arm.items()
        }
        for placebo in arms[:-1]:
            change = of_draws[arms[-1]] - of_draws[placebo]
            value, error = change[:, 0].mean(), change[:, 0].std(ddof=1) / np.sqrt(len(change))
            low, high = np.nanpercentile(change[:, 1:].mean(axis=0), [100 * (1 - tail), 100 * tail])
            half = stats.t.ppf(tail, len(change) - 1) * error
            ends = (float(value - np.hypot(value - low, half)), float(value + np.hypot(high - value, half)))
            yield home, count, tested, placebo, float(of_draws[placebo][:, 0].mean()), float(value), *ends


def main() -> None:
    """Print one table: areas under the ROC curve, and each arm's change against the best of its placebos."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path, help="folders of classes benign and malignant")
    parser.add_argument("--weights", required=True, help="MobileNetV2's ImageNet weights, .safetensors")
    parser.add_argument("--csv", type=Path, help="file for the figures")
    parser.add_argument("--start", default="", help="run or bundle of a flow, or shipped: its arms, in place of others")
    parser.add_argument("--again", action="store_true", help="the second look, in place of the first")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    network = open_space("mobilenetv2-imagenet", asked.weights)

    def embed(images: Pixels) -> Floats:
        return network.embed(prepare_images(images, PIXELS, 1) if asked.start else images).features.astype(float)

    sets, images, seen = dict[str, Scans](), dict[str, LabelledImages](), list[Scans]()
    for folder in asked.data:
        cache = load_images(ImageSource((str(folder),), 0, 0, default_folder(), fewest_classes=2))
        scans, shown = read(cache, embed)
        if asked.start and was_seen(cache, asked.start):
            seen.append(scans)
        else:
            sets[cache.dataset.name], images[cache.dataset.name] = scans, shown
    started: dict[str, More] = {}
    if asked.start:
        if not seen or not sets:
            raise SystemExit("--start: give collections that it was trained on, for `others`, and some that it was not")
        others = Scans(*map(np.concatenate, zip(*seen, strict=True)))
        started = {name: from_start(asked.start, own, others, embed) for name, own in images.items()}
    rows = []
    for row in (second_look if asked.again else first_look)(sets, started):
        rows.append(row)
        print(*(f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row), flush=True)
    if asked.csv:
        with asked.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(AGAIN if asked.again else CHANGES)
            writer.writerows([f"{cell:.4f}" if isinstance(cell, float) else cell for cell in row] for row in rows)


if __name__ == "__main__":
    main()

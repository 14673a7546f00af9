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
"""

from __future__ import annotations

import argparse
import csv
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

from sonoforge.training.data.cache import default_folder
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.splits import scan_groups
from sonoforge.training.evaluation.spaces import open_space
from sonoforge.training.statistics.classification import weighted_auc
from sonoforge.training.statistics.intervals import group_weights, percentile_interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COUNTS, DRAWS, DOSE, SIDE = (25, 50, 100), 5, 4, 64
DRAWS_AGAIN, LEVEL_AGAIN = 40, 0.97
WEIGHTS, STRENGTHS = (0.1, 0.3, 1.0), (0.001, 0.01, 0.1, 1.0)
STEPS, BATCH, HIDDEN, LATENT = 500, 32, 128, 16
COLUMNS = ("trained on", "scans of each class", "tested on", "arm", "auc", "low", "high", "change", "change_low")
CHANGES = (*COLUMNS, "change_high")
AGAIN = (*COLUMNS[:3], "placebo", "auc", "change", "low", "high")


class Scans(NamedTuple):
    """Lesions of one collection: features (N, D), whether malignant (N,), patients (N,)."""

    features: Floats
    labels: Ints
    patients: Ints

    def take(self, chosen: NDArray[np.generic]) -> Scans:
        return Scans(*(column[chosen] for column in self))


def read(folder: Path, weights: str) -> tuple[str, Scans]:
    """Embed a folder's lesions; return its name, too."""
    cache = load_images(ImageSource((str(folder),), 0, 0, default_folder(), fewest_classes=2))
    names = np.array([cache.dataset.classes[label] for label in cache.dataset.labels])
    lesions = np.flatnonzero(np.isin(names, ("benign", "malignant")))
    features = open_space("mobilenetv2-imagenet", weights).embed(cache.images[lesions]).features
    malignant = (names[lesions] == "malignant").astype(np.int64)
    return cache.dataset.name, Scans(features.astype(float), malignant, scan_groups(cache)[lesions])


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


ARMS: dict[str, Callable[[Scans, np.random.Generator], Floats] | None] = {
    "real": None,
    "copies": lambda real, rng: np.tile(real.features, (DOSE, 1)),
    "noise": noise,
    "mixtures": mixtures,
    "gaussian": gaussian,
    "gan": gan,
}


def fitted(real: Scans, added: Floats | None, weight: float, strength: float) -> LogisticRegression:
    vectors, labels, weights = real.features, real.labels, np.ones(len(real.labels))
    if added is not None:
        vectors, labels = np.concatenate([vectors, added]), np.tile(labels, 1 + DOSE)
        weights = np.concatenate([weights, np.full(len(added), weight)])
    return LogisticRegression(C=strength, max_iter=300).fit(vectors, labels, weights)


def train(arm: str, real: Scans, seed: int) -> LogisticRegression:
    """Choose weight and strength inside the draw, then fit on all of it."""
    make = ARMS[arm]
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
    seeds: Sequence[int] = range(DRAWS),
    arms: Sequence[str] = (*ARMS,),
) -> dict[str, dict[str, Floats]]:
    """Return (draws, N) scores by test set and arm."""
    found: dict[str, dict[str, list[Floats]]] = {name: {arm: [] for arm in arms} for name in tests}
    for seed in seeds:
        drawn = draw_scans(home, count, seed)
        space = PCA(min(SIDE, len(drawn.labels) // 2), whiten=True, random_state=0).fit(drawn.features)
        small = drawn._replace(features=space.transform(drawn.features))
        seen = {name: space.transform(test.features) for name, test in tests.items()}
        for arm in arms:
            network = train(arm, small, seed)
            for name in tests:
                found[name][arm].append(network.decision_function(seen[name]))
    return {name: {arm: np.stack(rows) for arm, rows in by_arm.items()} for name, by_arm in found.items()}


def halves(own: Scans) -> NDArray[np.bool_]:
    """Which scans (N,) are of the half of the patients that training scans are drawn from."""
    patients = np.random.default_rng(0).permutation(np.unique(own.patients))
    return np.isin(own.patients, patients[: len(patients) // 2])


def first_look(sets: dict[str, Scans]) -> Iterator[tuple[object, ...]]:
    """Yield the area of each arm, and its change against the better of `real` and `copies`, with ends over patients."""
    for name, own in sets.items():
        pool = halves(own)
        tests = {name: own.take(~pool)} | {other: scans for other, scans in sets.items() if other != name}
        counts = [count for count in COUNTS if np.bincount(own.labels[pool], minlength=2).min() >= count]
        for count in counts:
            for tested, by_arm in answers(own.take(pool), tests, count).items():
                test = tests[tested]
                weights = group_weights(test.patients)
                figures = {arm: areas(scores, test.labels, weights) for arm, scores in by_arm.items()}
                placebo = max(("real", "copies"), key=lambda arm: figures[arm][0])
                for arm, values in figures.items():
                    area, change = percentile_interval(values), percentile_interval(values - figures[placebo])
                    yield name, count, tested, arm, *area.values(), *change.values()


def second_look(home: str, sets: dict[str, Scans]) -> Iterator[tuple[object, ...]]:
    """Yield what `gaussian` changes against each placebo, with ends over patients and draws."""
    pool, count = halves(sets[home]), COUNTS[0]
    tests = {name: own if name != home else own.take(~pool) for name, own in sets.items()}
    arms = [arm for arm in ARMS if arm != "gan"]
    seeds = range(DRAWS, DRAWS + DRAWS_AGAIN)
    tail = (1 + LEVEL_AGAIN) / 2
    for tested, by_arm in answers(sets[home].take(pool), tests, count, seeds, arms).items():
        test = tests[tested]
        weights = group_weights(test.patients)
        of_draws = {
            arm: np.stack([weighted_auc(test.labels == 1, row, weights) for row in scores])
            for arm, scores in by_arm.items()
        }
        for placebo in arms[:-1]:
            change = of_draws["gaussian"] - of_draws[placebo]
            value, error = change[:, 0].mean(), change[:, 0].std(ddof=1) / np.sqrt(len(change))
            low, high = np.nanpercentile(change[:, 1:].mean(axis=0), [100 * (1 - tail), 100 * tail])
            half = stats.t.ppf(tail, len(change) - 1) * error
            ends = (float(value - np.hypot(value - low, half)), float(value + np.hypot(high - value, half)))
            yield home, count, tested, placebo, float(of_draws[placebo][:, 0].mean()), float(value), *ends


def main() -> None:
    """Print one table: areas under the ROC curve, and each arm's change against the better of `real` and `copies`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path, help="folders of classes benign and malignant")
    parser.add_argument("--weights", required=True, help="MobileNetV2's ImageNet weights, .safetensors")
    parser.add_argument("--csv", type=Path, help="file for the figures")
    parser.add_argument("--again", action="store_true", help="the second look, in place of the first")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sets = dict(read(folder, asked.weights) for folder in asked.data)
    rows = []
    for row in second_look(next(iter(sets)), sets) if asked.again else first_look(sets):
        rows.append(row)
        print(*(f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row), flush=True)
    if asked.csv:
        with asked.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(AGAIN if asked.again else CHANGES)
            writer.writerows([f"{cell:.4f}" if isinstance(cell, float) else cell for cell in row] for row in rows)


if __name__ == "__main__":
    main()

"""Do SPADE's pairs help a U-Net that has few real ones, at home and in other collections?

    python training/studies/where-it-helps/few_pairs.py BUSI/ --elsewhere BUS-BRA/ --elsewhere BrEaST/ --pairs 25 \\
        --seeds 10 --weights mobilenet_v2.safetensors --out FOLDER

The experiment of ``sonoforge segment`` with two changes: generators and U-Nets learn from ``--pairs`` real pairs alone,
those of the first patients in an order drawn for each seed (so that 25 are a subset of 50), and each U-Net is also
tested on all images of other collections.  ``cases.csv`` in FOLDER has every score, for `sonoforge segment --from`;
what is done is kept, and the same command goes on.

With ``--start``, a bundle or a run, or ``shipped``, the generator is a flow that goes on from there
(``--recipe flow:latent``); it draws into the distorted maps as SPADE does.  It must have seen none of the collections.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.crossval.fold_task import keep_plan
from sonoforge.training.data.audit import find_in_both
from sonoforge.training.data.cache import default_folder
from sonoforge.training.data.load import ImageSource
from sonoforge.training.data.split_plan import FILE, SplitPlan
from sonoforge.training.data.splits import scan_groups
from sonoforge.training.devices import find_device, one_thread
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.start_from import refuse_seen_by_start
from sonoforge.training.segmentation.experiment import (
    FoldTask,
    LabelledSet,
    image_channels,
    open_labelled_set,
    plan_folds,
    take_pairs,
)
from sonoforge.training.segmentation.figures import (
    CASES,
    CaseScore,
    compute_set,
    read_cases,
    write_cases,
    write_tables,
)
from sonoforge.training.segmentation.generating import draw_and_measure, train_generator
from sonoforge.training.segmentation.options import Experiment, UnetSettings, find_arm
from sonoforge.training.segmentation.scoring import score_cases, train_judge
from sonoforge.training.segmentation.unet import predict
from sonoforge.training.statistics.results import Record

FOLDS = 2
SIDE, STEPS, WIDTH = 64, 300, 16
GENERATOR = GanSettings(kimg=3.0, batch=16, width=16, precision="bf16")
FLOW = GanSettings(kimg=3.0, precision="bf16")
FEATURES = "mobilenetv2-imagenet"


@dataclasses.dataclass(frozen=True)
class FewPairs(SplitPlan):
    """A plan of one fold whose training part is limited."""

    kept: tuple[int, ...]  # indices of the images to train on

    def train(self, fold: int) -> NDArray[np.int64]:
        """Return the images that are kept."""
        del fold
        return np.array(self.kept, np.int64)


def few(plan: SplitPlan, fold: int, seed: int, pairs: int | None) -> SplitPlan:
    """Keep ``pairs`` images of a fold's training part: those of the first patients in an order drawn by the seed."""
    train = plan.train(fold)
    if pairs is None:
        return plan
    if pairs > len(train):
        raise SystemExit(f"--pairs: the fold has only {len(train)} for training, not {pairs}")
    patients = np.array(plan.groups)[train]
    drawn = np.random.default_rng(derive_seed(seed, f"small set fold {fold}")).permutation(np.unique(patients))
    place = {patient: rank for rank, patient in enumerate(drawn.tolist())}
    order = np.argsort([place[patient] for patient in patients.tolist()], kind="stable")
    return FewPairs(**vars(plan), kept=tuple(np.sort(train[order[:pairs]]).tolist()))


def other_sets(own: LabelledSet, source: ImageSource, folders: Sequence[Path]) -> Iterator[LabelledSet]:
    """Open the collections to test on, and refuse one that shares scans or lacks the structures."""
    for folder in folders:
        other = open_labelled_set(source._replace(data=(str(folder),)))
        if other.structures != own.structures:
            raise SystemExit(f"{folder}: has masks of {', '.join(other.structures)}, not {', '.join(own.structures)}")
        if shared := find_in_both(own.cache, other.cache)["pairs"]:
            raise SystemExit(f"{folder}: shows {len(shared)} scans of {own.name}, such as {shared[0]['second']}")
        yield other


def judged(task: FoldTask, own: LabelledSet, others: Sequence[LabelledSet]) -> list[CaseScore]:
    """Train an arm's U-Net and test it at home and on all of the others, once."""
    if task.path.is_file():
        return read_cases(task.path)
    network, device = train_judge(task), find_device(task.experiment.device)
    sets = [(own.name, own, list(task.plan.groups), task.plan.test(task.fold))]
    for other in others:
        name, everything = f"{own.name}, tested on {other.name}", np.arange(len(other.maps))
        sets.append((name, other, scan_groups(other.cache).tolist(), everything))
    scores = []
    for name, images, patients, tested in sets:
        predicted = predict(network, take_pairs(images, tested, image_channels(own, task)).images, device)
        scores += [score._replace(data=name) for score in score_cases(task, images, patients, tested, predicted)]
    write_cases(task.path, scores, digits=17)
    return scores


def main() -> None:
    """Train and test what is missing, and write scores and tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--elsewhere", type=Path, action="append", default=[])
    parser.add_argument("--pairs", type=int, help="default: all")
    parser.add_argument("--arms", default="real,augmented,both,both-augmented", help="default: %(default)s")
    parser.add_argument("--recipe", default="spade:small-data", help="default: %(default)s")
    parser.add_argument("--start", default="", help="of --recipe flow:latent: a run, a bundle or shipped")
    parser.add_argument("--seeds", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--weights", type=Path, required=True, help="MobileNetV2's, for KID and FID")
    parser.add_argument("--cache", type=Path, default=default_folder(), help="default: %(default)s")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    experiment = Experiment(
        recipes=(asked.recipe,),
        arms=tuple(asked.arms.split(",")),
        image_size=SIDE,
        unet=UnetSettings(steps=STEPS, width=WIDTH, widest=8),
        generator=dataclasses.replace(FLOW, start_from=asked.start) if asked.start else GENERATOR,
        metric_features=FEATURES,
        metric_weights=str(asked.weights),
    )
    source = ImageSource((str(asked.home),), 0, 0, asked.cache, Preprocessing(size=SIDE), fewest_classes=1)
    own = open_labelled_set(source)
    others, plan = list(other_sets(own, source, asked.elsewhere)), plan_folds(own, "auto", FOLDS, 0)
    for images in (own, *others):
        try:
            refuse_seen_by_start(asked.start, images.cache, asked.cache)
        except SonoforgeError as error:
            raise SystemExit(str(error)) from None
    asked.out.mkdir(parents=True, exist_ok=True)
    keep_plan(asked.out / FILE, plan)
    scores: list[CaseScore] = []
    figures: list[Record] = []
    for seed in range(asked.seeds):
        task = FoldTask(asked.out / own.name, source, few(plan, 0, seed, asked.pairs), 0, seed, experiment)
        drawing = dataclasses.replace(task, recipe=asked.recipe)
        task.folder.mkdir(exist_ok=True)
        with one_thread():
            train_generator(drawing)
            figures.append(draw_and_measure(drawing))
            for arm in experiment.arms:
                recipe = asked.recipe if find_arm(arm).dose else ""
                scores += judged(dataclasses.replace(task, arm=arm, recipe=recipe), own, others)
    write_cases(asked.out / CASES, scores)
    names = dict.fromkeys(score.data for score in scores)
    by_set = {name: [score for score in scores if score.data == name] for name in names}
    write_tables(asked.out, [compute_set(name, by_set[name], figures if name == own.name else []) for name in names])
    print(f"{len(scores)} scores in {asked.out / CASES}")


if __name__ == "__main__":
    main()

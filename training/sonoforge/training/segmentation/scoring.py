"""Train one U-Net on an arm's pairs in one fold, and score it on that fold's real test patients."""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from sonoforge.training.devices import find_device
from sonoforge.training.run_folder import log_to
from sonoforge.training.segmentation import experiment, figures, generating, unet
from sonoforge.training.segmentation.pairs import PICTURES, Pairs, sheet_name, write_sheet

log = logging.getLogger(__name__)

Maps = NDArray[np.uint8]
"""Label maps: 0 is the background, k the k-th structure."""

PERCENTILE = 95.0  # of the distances, so that a few stray pixels do not decide


class Agreement(NamedTuple):
    """The scores of one structure in one case; nan where undefined."""

    dice: float  # 2 |A and B| / (|A| + |B|); nan where the reference has nothing of the structure
    iou: float  # |A and B| / |A or B|; nan as for Dice
    # 95th percentile of the distances between the outlines (`hausdorff_95`); nan where no slice has both.
    hd95: float
    invented: bool  # the prediction has the structure, the reference does not


def score_case(reference: Maps, predicted: Maps, structure: int, spacing: tuple[float, float]) -> Agreement:
    """Score one structure (label 1 to K) of one case of D slices, label maps (D, H, W) uint8.

    ``spacing`` is the distance between pixels down and across, in the unit of HD95.
    """
    true, found = reference == structure, predicted == structure
    both, sizes = int((true & found).sum()), int(true.sum() + found.sum())
    if not true.any():
        return Agreement(math.nan, math.nan, math.nan, bool(found.any()))
    return Agreement(2 * both / sizes, both / (sizes - both), hausdorff_95(true, found, spacing), invented=False)


def hausdorff_95(one: NDArray[np.bool_], other: NDArray[np.bool_], spacing: tuple[float, float]) -> float:
    """Return the 95 % Hausdorff distance between the outlines of two stacks of masks (D, H, W), slice by slice.

    Huttenlocher, Klanderman, Rucklidge, IEEE TPAMI 15, 1993, section II: the larger of the two directed distances, each
    being the 95th percentile over all outline pixels, in the unit of ``spacing``. Slices may be ten times as far apart
    as pixels, so distances are within slices; a slice with an empty mask is left out; nan if all are.
    """
    there: list[NDArray[np.float64]] = []
    back: list[NDArray[np.float64]] = []
    for first, second in zip(one, other, strict=True):
        if first.any() and second.any():
            first_outline, second_outline = _outline(first), _outline(second)
            there.append(ndimage.distance_transform_edt(~second_outline, sampling=spacing)[first_outline])
            back.append(ndimage.distance_transform_edt(~first_outline, sampling=spacing)[second_outline])
    if not there:
        return math.nan
    return float(max(np.percentile(np.concatenate(directed), PERCENTILE) for directed in (there, back)))


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a mask with a neighbour outside; the image's surroundings count as outside."""
    inner: NDArray[np.bool_] = ndimage.binary_erosion(mask)
    return mask & ~inner


def run_fold(task: experiment.FoldTask) -> list[figures.CaseScore]:
    """Train and test one U-Net, and write its scores.

    Raises:
        GateError: A training image gives away a test image.
    """
    images = experiment.open_labelled_set(task.source)
    with log_to(task.folder.parent):
        network = train_judge(task)
        test = task.plan.test(task.fold)
        tested = experiment.take_pairs(images, test, experiment.image_channels(images, task))
        predicted = unet.predict(network, tested.images, find_device(task.experiment.device))
        scores = list(score_cases(task, images, task.plan.groups, test, predicted))
    outlined = np.flatnonzero(tested.maps.any((1, 2)))
    if task.shown and len(outlined):  # test images with their reference above the same with the prediction
        path = task.folder / PICTURES / sheet_name(f"predicted-{task.path.stem.partition('-seed')[0]}")
        write_sheet(path, tested.images[outlined], tested.maps[outlined], predicted[outlined])
    figures.write_cases(task.path, scores, digits=17)
    return scores


def train_judge(task: experiment.FoldTask) -> nn.Module:
    """Train the U-Net of the task's arm on its fold's pairs.

    Raises:
        GateError: A training image gives away a test image.
    """
    images, train = experiment.training_part(task, f"U-Net {task.arm}")
    pairs = _training_pairs(task, experiment.take_pairs(images, train, experiment.image_channels(images, task)))
    real = len(train) if task.own_arm.real else 0
    log.info("%s: a U-Net of %d real and %d generated pairs", task.name, real, len(pairs) - real)
    seed, device = task.derived_seed("U-Net"), find_device(task.experiment.device)
    settings, structures, augmented = task.experiment.unet, len(images.structures), task.own_arm.augmented
    return unet.train_unet(pairs, settings, structures, seed, device, augmented=augmented)


def _training_pairs(task: experiment.FoldTask, real: Pairs) -> Pairs:
    """Return the arm's pairs; take generated ones in order, so that a smaller dose is part of a larger one."""
    arm = task.own_arm
    if not arm.dose:
        return real
    count = math.ceil(arm.dose * len(real))
    with np.load(experiment.generator_folder(task) / generating.PAIRS, allow_pickle=False) as arrays:
        generated = Pairs(arrays["images"][:count], arrays["maps"][:count])
    if not arm.real:
        return generated
    return Pairs(np.concatenate([real.images, generated.images]), np.concatenate([real.maps, generated.maps]))


def score_cases(
    task: experiment.FoldTask,
    images: experiment.LabelledSet,
    patients: Sequence[int],
    test: NDArray[np.int64],
    predicted: Maps,
) -> Iterator[figures.CaseScore]:
    """Score every structure of the cases of a set that were tested.

    Args:
        task: What the U-Net was trained on.
        images: The set that it is tested on.
        patients: Number of the patient of each of the set's images.
        test: (N,) indices of the tested images.
        predicted: (N, S, S) their predicted label maps.
    """
    place = {index: row for row, index in enumerate(test.tolist())}
    for case in images.cases:
        rows = [place[index] for index in case.images.tolist() if index in place]
        if not rows:
            continue
        reference = images.maps[test[rows]]
        for label, structure in enumerate(images.structures, start=1):
            found = score_case(reference, predicted[rows], label, case.spacing)
            yield figures.CaseScore(
                data=images.name,
                arm=task.arm,
                recipe=task.recipe,
                seed=task.seed,
                fold=task.fold,
                patient=patients[case.images[0]],
                case=case.name,
                structure=structure,
                unit=case.unit,
                **found._asdict(),
            )

"""Compute the figures of a run again from its answers, and its answers from its weights; refuse what contradicts.

It needs packages of cross-validation, which an export does not.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sonoforge.export.bundle.gate import GateImages
from sonoforge.runtime.atomic import plain
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.initial_weights import is_of
from sonoforge.training.classifier.model_folder import HASH_PREFIX, SIGNATURES, ModelRecord, Origin
from sonoforge.training.classifier.trust import HeldOutTrust
from sonoforge.training.crossval.arms import find_arm
from sonoforge.training.crossval.evidence import check_kept, read_folds, read_plans
from sonoforge.training.crossval.final_model import HeldOut, cross_validated, held_out_figures
from sonoforge.training.crossval.fold_task import NOTE, MadeFrom, read_note
from sonoforge.training.data.split_plan import FILE, SplitPlan, read_plan
from sonoforge.training.jobs.training import HELD_OUT
from sonoforge.training.run_folder import RESULTS, read_results
from sonoforge.training.statistics.predictions import ANSWERS, Predictions, read_predictions
from sonoforge.training.statistics.results import Record

_ROUNDING = 1e-4  # of a figure: another processor may end a fit elsewhere
_OTHER_DEVICE = 0.02  # of a probability: a GPU may have answered in TF32
_UNLIKELY = 4  # standard errors of a share counted on a part of the images
_OTHERWISE = ("flags", "train_accuracy")  # of the folds in a summary, of the final model in its record


def recompute(
    run: Path, record: ModelRecord, origins: Sequence[Origin], seen: GateImages, logits: NDArray[np.float32]
) -> Record:
    """Recompute a run's figures from its answers, and the answers to the images that are at hand from its weights.

    Args:
        run: The run folder.
        record: Its model, without evidence.
        origins: Of its training images, in order.
        seen: N images, among which those of the run are known by their content.
        logits: (N, C) of the run's weights on them.

    Returns:
        ``why`` the rest is as stated, and, unless the run keeps no answers, numbers of images: ``tested``, whose
        answers gave the figures again; ``answered`` of these, and ``trained``, which the weights answered again.

    Raises:
        SonoforgeError: Files of the run contradict each other, or the weights give other answers.
    """
    training, near_duplicates = record.training, record.evaluation["near_duplicates"]
    summary = read_results(run) if (run / RESULTS).is_file() else {}  # `run` exports before it writes them
    if (run / ANSWERS).is_file():
        check_answers(run, record, origins)
        held_out = cross_validated(run, training["arm"], training["seed"], near_duplicates)
        plan, why = read_plan(run / FILE), "the run does not keep the networks of its folds"
        used = range(len(plan.files))
    elif (run / HELD_OUT).is_file() and "trust" in summary:  # of the first fold of the plan
        part, *_ = read_predictions(run / HELD_OUT)[0]
        held_out = HeldOut(part, near_duplicates, 0, {}, HeldOutTrust(**summary["trust"]))
        plan, why = read_plan(run / FILE), "its images are not at hand"
        used = plan.train(0).tolist()
        tested = {plan.files[i]: plan.labels[i] for i in plan.test(0).tolist()}
        _agree(run / HELD_OUT, "labels", dict(zip(part.files, part.labels, strict=True)), tested, FILE)
    else:
        return {"why": "the run keeps no answers"}
    _check_origin(run, record, plan, used, origins)
    _check_figures(run, record, held_out, summary)
    counted = _answer_again(run, record, plan, held_out.predictions, seen, logits)
    return {"why": why, "tested": len(held_out.predictions.files), **counted}


def check_answers(
    run: Path, record: ModelRecord, origins: Sequence[Origin], free: Sequence[str] = ()
) -> tuple[list[Predictions], tuple[str, ...]]:
    """Return the answers that a cross-validated run keeps of a model's arm, and the classes.

    Raises:
        SonoforgeError: They are not those of the run's plans and folds; a fold was made from other initial weights or
            settings than the model, except for settings that are ``free``; or an image is of another class or
            collection than among the ``origins`` of the model's training images, or of one of these collections and
            not among them.
    """
    parts, classes = read_predictions(run / ANSWERS)
    if not (run / FILE).is_file():
        raise SonoforgeError(f"{run}: has no split plan; give the whole folder of a run of crossval")
    folds, plans, arm = read_folds(run), read_plans(run), record.training["arm"]
    check_kept(run, parts, folds)
    parts = [part for part in parts if part.arm == arm]
    for path, fold in folds.items():
        if fold.arm == arm:
            _check_made(path, fold.made_from, record.training, free)
    known = {*origins, *((digest, name, "") for digest, name, _ in origins)}
    taken = {own for digest, _, collection in origins for own in (digest, collection)}
    for part in parts:
        named, digests = part.collections or ("",) * len(part.files), plans[part.seed].images
        for file, label, collection in zip(part.files, part.labels, named, strict=True):
            digest, name = digests[file][:HASH_PREFIX], classes[label]
            if (digest, name, collection) not in known and not taken.isdisjoint((digest, collection)):
                raise SonoforgeError(
                    f"{run / ANSWERS}: {file} is {name} of {collection or 'one collection'}, but not so in the model's "
                    f"{SIGNATURES}; give the run's own table"
                )
    return parts, classes


def _check_made(path: Path, made: MadeFrom, training: Record, free: Sequence[str] = ()) -> None:
    chosen = [*made.settings["choosing"], "least_steps"] if "choosing" in made.settings else []
    chosen += ["augmentation"] if find_arm(training["arm"]).augmentation else []
    left = dict.fromkeys((*free, *chosen))
    _agree(path, "made_from", {**made.settings["classifier"], **left}, {**training["settings"], **left}, "the model")
    if not is_of(training["weights"], made.weights):
        _agree(path, "made_from.weights", made.weights, training["weights"], "the model")


def _check_origin(
    run: Path, record: ModelRecord, plan: SplitPlan, used: Sequence[int], origins: Sequence[Origin]
) -> None:
    """Compare what the model was made from with the split plan."""
    note, training = run / "final" / NOTE, record.training
    made, learned = read_note(note), [(plan.hashes[i][:HASH_PREFIX], record.classes[plan.labels[i]]) for i in used]
    _agree(run / "model" / SIGNATURES, "images", [own[:2] for own in origins], learned, FILE)
    of_plan = {
        "fingerprint": plan.fingerprint,
        "data_images": len(plan.files),
        "count": len(used),
        "class_counts": {name: sum(own == name for _, own in learned) for name in record.classes},
        "images": sorted({digest for digest, _ in learned}),
    }
    _agree(run / "model" / "model.json", "training", {name: training[name] for name in of_plan}, of_plan, FILE)
    _agree(note, "plan", made.plan, plan.digest, FILE)
    _check_made(note, made, training)


def _check_figures(run: Path, record: ModelRecord, held_out: HeldOut, summary: Record) -> None:
    """Compare the model's record, and the run's summary if it is written, with the figures of the answers."""
    training, evaluation, trust = record.training, record.evaluation, {**record.trust, **record.trust["checks"]}
    added = [training["added"][name] for name in record.classes]
    found = held_out_figures(held_out, record.classes, added, training["settings"]["class_weights"])
    found["evaluation"] |= {name: evaluation[name] for name in ("budget", "train_accuracy")}  # of the training
    stated = {**vars(record), "trust": {name: trust[name] for name in found["trust"]}}
    _agree(run / "model" / "model.json", "model", {name: stated[name] for name in found}, found, "the run's answers")
    own = summary["arms"][training["arm"]] if "arms" in summary else summary.get("evaluation", {})
    if "split" in summary:
        near_duplicates = sum(summary["split"]["test_images_with_near_duplicate_in_training"])
        own = {**own, "near_duplicates": near_duplicates, **{name: evaluation[name] for name in _OTHERWISE}}
    shared = evaluation.keys() & own.keys()
    shown, expected = ({name: one[name] for name in shared} for one in (own, evaluation))
    _agree(run / RESULTS, "figures", shown, expected, "model.json")


def _answer_again(
    run: Path,
    record: ModelRecord,
    plan: SplitPlan,
    part: Predictions,
    seen: GateImages,
    logits: NDArray[np.float32],
) -> dict[str, int]:
    """Check the answers of ``train`` and the training accuracy against the weights; return how many images of each."""
    answers = {} if (run / ANSWERS).is_file() else dict(zip(part.files, part.probabilities, strict=True))
    place, pairs = {digest: i for i, digest in enumerate(plan.hashes)}, {*zip(plan.hashes, plan.labels, strict=True)}
    said = torch.from_numpy(logits).double().softmax(1).numpy()
    answered, right = 0, list[bool]()
    for row, digest in enumerate(seen.hashes):
        if digest not in place:
            continue
        file, label = plan.files[place[digest]], plan.labels[place[digest]]
        if seen.labels is not None and (digest, int(seen.labels[row])) not in pairs:
            where = record.classes[seen.labels[row]]
            raise SonoforgeError(f"{run / FILE}: {file} is not {where}, where it lies; restore the run's files")
        if file not in answers:
            right.append(bool(said[row].argmax() == label))
            continue
        answered += 1
        if not np.abs(answers[file] - said[row]).max() <= _OTHER_DEVICE:
            stated, given = (" ".join(f"{own:.3f}" for own in each) for each in (answers[file], said[row]))
            _agree(run / HELD_OUT, f"the answer to {file}", stated, given, "the weights")
    share, count = record.evaluation["train_accuracy"], len(right)
    if not count or sum(record.training["added"].values()):  # which the accuracy counts, too
        return {"answered": answered, "trained": 0}
    found, rest = float(np.mean(right)), max(0.0, 1 - count / record.training["count"])
    if abs(found - share) > _OTHER_DEVICE + 1 / count + _UNLIKELY * math.sqrt(share * (1 - share) * rest / count):
        _agree(run / "model" / "model.json", "train_accuracy", share, found, f"the weights on {count} images")
    return {"answered": answered, "trained": count}


def _agree(file: Path, what: str, stated: Any, found: Any, source: str) -> None:
    """Refuse a value of a file that another one gives differently."""
    given, expected = (dict(_leaves(plain(value), what)) for value in (stated, found))
    for place in sorted({*given, *expected}):
        one, other = given.get(place, "missing"), expected.get(place, "missing")
        numbers = isinstance(one, int | float) and isinstance(other, int | float)
        if one != other and not (numbers and math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=_ROUNDING)):
            found_there = f"{place} is {one!r:.80}, but {other!r:.80} by {source}"
            raise SonoforgeError(f"{file}: {found_there}; restore the run's files, or train again")


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list) and value:
        for name, own in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(own, f"{place}.{name}")
    else:
        yield place, value

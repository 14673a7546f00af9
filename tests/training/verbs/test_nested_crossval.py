"""Settings chosen inside the folds, as a user asks for it: what the choice reads, keeps and says."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from program import Finished, refused, succeed, words
from small_run import SIDE, SMALL
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.training.crossval import folds
from sonoforge.training.crossval.fold_task import read_fold
from sonoforge.training.data.cache import CacheSettings
from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.split_plan import read_plan

RATES = (0.0001, 0.03)
NESTED = [*SMALL, *words("--folds 2 --set classifier.epochs=1 --set classifier.ensemble_size=1 --arms real")]
NESTED += ["--set", "crossval.choose=learning-rate=0.0001,0.03", "--set", "crossval.inner_folds=2"]


class Watched(NamedTuple):
    """A finished command, and the images that each training was given, by their pixels."""

    done: Finished
    given: list[set[str]]

    @property
    def run(self) -> Path:
        return Path(self.done.json["run"])


def watched(*arguments: object) -> Watched:
    given: list[set[str]] = []
    train_classifier = folds.train_classifier

    def train(images: LabelledImages, *rest: Any, **more: Any) -> Any:
        given.append(set(images.hashes))
        return train_classifier(images, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folds, "train_classifier", train)
        return Watched(succeed("crossval", *arguments, "--jobs", "1"), given)


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """Two folds, each with two inner ones for two learning rates; not to be changed."""
    return watched(*NESTED, "--out", tmp_path_factory.mktemp("runs"))


def test_no_training_is_given_an_image_of_the_fold_that_it_chooses_for(nested: Watched) -> None:
    plan = read_plan(nested.run / "splits.json")
    cache = load_images(ImageSource(("phantom",), 60, 0, CacheSettings().open(), Preprocessing(size=SIDE)))
    pixels = [LabelledImages.of_set(cache, plan.train(fold)).hashes for fold in (0, 1)]
    sizes: Counter[tuple[int, bool]] = Counter()
    for given in nested.given:
        (fold,) = [fold for fold in (0, 1) if given <= set(pixels[fold])]  # the other half is the test fold
        sizes[fold, given == set(pixels[fold])] += 1
    # In each fold two rates on two inner folds, and then the fold itself.
    assert sizes == {(0, False): 4, (1, False): 4, (0, True): 1, (1, True): 1}
    kept = [read_fold(path) for path in sorted((nested.run / "inner").glob("*.json"))]
    assert Counter((own.inner_of, own.fold) for own in kept) == {
        (outer, inner): 2 for outer in (0, 1) for inner in (0, 1)
    }
    content = dict(zip(plan.files, plan.hashes, strict=True))
    for own in kept:
        assert own.inner_of is not None
        training = {plan.hashes[i] for i in plan.train(own.inner_of)}
        (read,) = own.reads.values()
        tested = {content[file] for file in own.files}
        assert tested and not tested & set(read) and tested | set(read) == training


def test_the_choice_follows_from_the_inner_answers_and_is_recorded(nested: Watched) -> None:
    results = json.loads((nested.run / "results.json").read_text())
    plan = read_plan(nested.run / "splits.json")
    label = dict(zip(plan.files, plan.labels, strict=True))
    choice = results["choice"]
    assert choice["candidates"] == {"real": [{"learning_rate": rate} for rate in RATES]}
    assert (choice["inner_folds"], choice["trainings"]) == (2, 8) and choice["seconds"] > 0 and "final" not in choice
    for outer, chosen in enumerate(choice["folds"]["real"][0]):
        scores = []
        for candidate in (0, 1):
            paths = [
                nested.run / "inner" / f"real-seed0-fold{outer:02d}-inner{i}-candidate{candidate}.json" for i in (0, 1)
            ]
            rows = [
                (label[file], row)
                for own in map(read_fold, paths)
                for file, row in zip(own.files, own.probabilities, strict=True)
            ]
            right = np.mean([np.argmax(row) == truth for truth, row in rows])
            scores.append((right, np.mean([np.log(row[truth]) for truth, row in rows])))
        assert chosen["accuracy"] == pytest.approx([score[0] for score in scores])
        assert chosen["cross_entropy"] == pytest.approx([-score[1] for score in scores])
        assert chosen["settings"] == {"learning_rate": RATES[scores.index(max(scores))]}
        fold = read_fold(nested.run / "folds" / f"real-seed0-fold{outer:02d}.json")
        assert fold.choice == chosen
        # One-cycle ends at the peak over 25 and 10 000, as torch has it.
        assert fold.history[-1]["learning_rate"] == pytest.approx(chosen["settings"]["learning_rate"] / 25e4)
    said = " ".join(nested.done.said.split())
    assert "How often each value was chosen" in said
    assert re.search(r"real images \(System 1\) learning rate [\d.]+ [012] \d", said)
    assert "no test image had a part in the choice; it cost 8 trainings on 2 inner folds" in nested.done.said


def test_what_is_left_of_a_choice_is_kept_and_only_the_rest_is_trained(nested: Watched, tmp_path: Path) -> None:
    run = tmp_path / nested.run.name
    shutil.copytree(nested.run, run)
    inner = run / "inner"
    for path in (
        run / "results.json",
        run / "folds" / "real-seed0-fold01.json",
        inner / "real-seed0-fold01-inner0-candidate1.json",
    ):
        path.unlink()
    before = {path: path.stat().st_mtime_ns for path in [*inner.glob("*.json"), *run.glob("folds/*.json")]}
    again = watched(*NESTED, "--out", tmp_path, "--resume")
    assert again.run == run and len(again.given) == 2  # an inner fold, and the outer one
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert (run / "predictions.csv").read_bytes() == (nested.run / "predictions.csv").read_bytes()
    results = [
        json.loads((own / "results.json").read_text())["choice"]["folds"]["real"][0] for own in (run, nested.run)
    ]
    for own, other in zip(*results, strict=True):
        assert own | {"seconds": 0} == other | {"seconds": 0}


def test_a_choice_needs_sealed_folds_enough_groups_and_a_network(tmp_path: Path) -> None:
    choose = ["--set", "crossval.choose=learning-rate=0.0001,0.03", "--out", tmp_path / "runs"]
    assert "--protocol sealed, not thesis" in refused("crossval", *choose, "--protocol", "thesis")
    assert "none of the arms has learning-rate to choose: mrmr-svm" in refused(
        "crossval", *choose, "--arms", "mrmr-svm"
    )
    assert "(classifier.learning_rate=0.01)" in refused("crossval", *choose, "--set", "classifier.learning_rate=0.01")
    assert not (tmp_path / "runs").exists()
    few = [*SMALL, *choose, "--set", "crossval.inner_folds=7"]
    assert "the class of normal/" in refused("crossval", *few)
    assert not list(tmp_path.glob("runs/*/inner")) and not list(tmp_path.glob("runs/*/gan"))

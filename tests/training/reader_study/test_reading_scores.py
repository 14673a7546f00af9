"""Figures of readers, against counts by hand, scikit-learn and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from readings import key_of
from sonoforge.training.reader_study.scores import (
    Answer,
    Reader,
    score_agreement,
    score_images,
    score_reader,
    score_together,
)
from sonoforge.training.reader_study.sheet import Key
from sonoforge.training.reports.reading import judge
from sonoforge.training.statistics.results import Record

KEY = key_of(["real", "generated"] * 20)


def reader(name: str, said: list[str | None], confidences: list[int] | None = None) -> Reader:
    answers = {
        i + 1: Answer(kind, confidences[i] if confidences else None, None, None, 1.0 + i)
        for i, kind in enumerate(said)
        if kind is not None
    }
    return Reader(name, "", f"{name}.json", answers)


def random_reader(name: str, seed: int) -> Reader:
    rng = np.random.default_rng(seed)
    kinds = [entry.kind if rng.random() < 0.7 else "real" for entry in KEY.entries]
    return reader(name, list(kinds), rng.integers(1, 6, 40).tolist())


def test_counts_of_one_reader() -> None:
    # 20 real images, 15 of them called real; 20 generated, 18 called generated; two are left open.
    said: list[str | None] = []
    for entry in KEY.entries:
        place = (entry.number + 1) // 2
        right = place <= (15 if entry.kind == "real" else 18)
        said.append(entry.kind if right else ("generated" if entry.kind == "real" else "real"))
    said[38] = said[39] = None
    found = score_reader(reader("a", said), KEY)
    assert (found["answered"], found["unanswered"]) == (38, 2)
    assert (found["accuracy"]["right"], found["accuracy"]["of"]) == (33, 38)
    assert (found["sensitivity"]["right"], found["sensitivity"]["of"]) == (18, 19)
    assert (found["specificity"]["right"], found["specificity"]["of"]) == (15, 19)
    tail = sum(math.comb(38, k) for k in range(33, 39)) / 2**38
    assert found["p_value"] == pytest.approx(2 * tail)
    assert found["auc"] is found["roc"] is found["classes"] is None
    assert found["seconds"]["real"]["median"] == np.median(range(1, 39, 2))


def test_confidence_gives_the_roc_curve() -> None:
    own = random_reader("a", 3)
    found = score_reader(own, KEY)
    truth = [entry.kind == "generated" for entry in KEY.entries]
    scores = [(1 if a.kind == "generated" else -1) * (a.confidence or 0) for a in own.answers.values()]
    assert found["auc"] is not None and found["roc"] is not None
    assert found["auc"]["value"] == pytest.approx(metrics.roc_auc_score(truth, scores))
    across, up, _ = metrics.roc_curve(truth, scores, drop_intermediate=False)
    assert np.array(found["roc"]) == pytest.approx(np.stack([across, up], axis=1))
    assert found["auc"]["low"] < found["auc"]["value"] < found["auc"]["high"]


def test_without_images_of_both_kinds_there_is_no_curve() -> None:
    said: list[str | None] = ["real" if entry.kind == "real" else None for entry in KEY.entries]
    found = score_reader(reader("a", said, [3] * 40), KEY)
    assert found["auc"] is None
    assert found["sensitivity"] == {"right": 0, "of": 0, "value": None, "low": 0.0, "high": 1.0}


def test_the_mean_of_readers_is_that_of_their_shares() -> None:
    readers = [random_reader(name, seed) for seed, name in enumerate("abc")]
    alone = [score_reader(one, KEY) for one in readers]
    together = score_together(readers, KEY)
    assert together is not None
    for name in ("accuracy", "sensitivity", "specificity"):
        expected = np.mean([one[name]["value"] for one in alone])  # type: ignore[literal-required]
        interval = together[name]  # type: ignore[literal-required]
        assert interval["value"] == pytest.approx(expected)
        assert interval["low"] <= interval["value"] <= interval["high"]
    assert score_together(readers[:1], KEY) is None


def test_agreement_counts_images_that_all_answered() -> None:
    first, second = random_reader("a", 0), random_reader("b", 1)
    both = Reader("b", "", "", {number: answer for number, answer in second.answers.items() if number > 4})
    found = score_agreement([first, both], KEY)
    assert found is not None and found["kappa"] is not None
    assert (found["name"], found["images"]) == ("Cohen's kappa", 36)
    kinds = [[one.answers[number].kind for number in range(5, 41)] for one in (first, second)]
    assert found["kappa"]["value"] == pytest.approx(metrics.cohen_kappa_score(*kinds))
    assert score_agreement([first], KEY) is None
    same = [reader(name, ["real"] * 40) for name in "ab"]
    assert score_agreement(same, KEY) == {"name": "Cohen's kappa", "images": 40, "kappa": None}


def test_classes_are_judged_on_real_and_generated_images_apart() -> None:
    key = key_of(["real", "generated"] * 4, ("benign", "malignant"), ["benign"] * 4 + ["malignant"] * 4)
    given = ["benign", "malignant", "benign", "malignant", "malignant", "malignant", "malignant", None]
    answers = {i + 1: Answer("real", None, name, None, 1.0) for i, name in enumerate(given)}
    found = score_reader(Reader("a", "", "", answers), key)["classes"]
    assert found is not None
    assert (found["real"]["right"], found["real"]["of"]) == (4, 4)
    assert (found["generated"]["right"], found["generated"]["of"]) == (1, 3)
    # Hypergeometric: of 7 answers 5 are right; the 2 wrong ones both among the 3 generated has 3 of 21 chances.
    assert found["p_value"] == pytest.approx(3 / 21)


def test_images_are_told_with_their_marks() -> None:
    key = key_of(["real", "generated"])
    marked = Reader("a", "", "", {2: Answer("generated", 5, None, (0.25, 0.75), 1.0)})
    other = Reader("b", "", "", {1: Answer("generated", 1, None, None, 1.0), 2: Answer("real", 1, None, None, 1.0)})
    first, second = score_images([marked, other], key)
    assert (first["called_generated"], first["answers"], first["marks"]) == (1, 1, [])
    assert (second["called_generated"], second["answers"]) == (1, 2)
    assert second["marks"] == [{"reader": "a", "x": 0.25, "y": 0.75}]


def results(key: Key, *readers: Reader) -> Record:
    return {"readers": [score_reader(one, key) for one in readers]}  # type: ignore[typeddict-item]


def test_the_verdict_says_what_a_negative_answer_leaves_open() -> None:
    right = reader("right", [entry.kind for entry in KEY.entries])
    wrong = reader("wrong", ["real" if entry.kind == "generated" else "generated" for entry in KEY.entries])
    blind = reader("blind", ["real"] * 40)
    told = judge(results(KEY, right, blind))
    assert (told.level, told.headline) == ("no", "Yes")
    assert "1 of 2 readers did better than chance" in told.sentences[0] and "right" in told.sentences[0]
    assert "an accuracy below 72" in told.sentences[1] and told.sentences[1].startswith("The others were not shown")
    assert judge(results(KEY, wrong)).headline == "Yes, but the wrong way round"
    assert judge(results(KEY, blind)).level == "open"

"""The gate of exported files: figures that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sonoforge.export.bundle.gate import GateImages, compare, problems
from sonoforge.export.formats.table import Tolerance
from sonoforge.runtime.errors import GateError

CLASSES = ("normal", "benign")


def images(labels: list[int] | None, sealed: list[list[float]] | None) -> GateImages:
    count = 4
    return GateImages(
        np.zeros((count, 8, 8, 3), np.uint8),
        (lambda: np.zeros((8, 8), np.uint8),) * count,
        tuple(f"{CLASSES[index % 2]}/{index}.png" for index in range(count)),
        None if labels is None else np.array(labels),
        None if sealed is None else np.array(sealed),
        "four scans",
        count,
    )


def answers(logits: list[list[float]]) -> dict[str, np.ndarray]:
    values = np.array(logits, np.float32)
    powers = np.exp(values)
    others = {"embedding": np.ones((len(values), 3), np.float32), "cam": np.full((len(values), 2, 1, 1), 2, np.float32)}
    return {"logits": values, "probabilities": powers / powers.sum(1, keepdims=True), **others}


REFERENCE = answers([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.1]])


def test_the_largest_difference_and_its_image_are_named() -> None:
    found = answers([[2.0, 0.0], [1.0, 0.5], [0.0, 1.0], [0.0, 0.1]])
    figures = compare(found, REFERENCE, images(None, None), CLASSES)
    difference = 1 / (1 + np.exp(-1)) - 1 / (1 + np.exp(-0.5))
    assert figures["max_abs"] == pytest.approx(difference, rel=1e-5)
    assert figures["mean_abs"] == pytest.approx(difference / 4, rel=1e-5)
    assert figures["max_abs_logits"] == pytest.approx(0.5)
    assert figures["labels_equal"] == figures["count"] == 4
    assert figures["worst"] == "benign/1.png"
    assert "sensitivity_change" not in figures
    assert problems(figures, Tolerance(0.2, 0.1)) == []
    (said,) = problems(figures, Tolerance(0.1, 0.1))
    assert said == "a probability differs by 0.11 (allowed 0.1)"


def test_without_sealed_answers_sensitivity_is_that_of_the_own_labels() -> None:
    found = answers([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.2, 0.1]])  # the last becomes normal
    figures = compare(found, REFERENCE, images([0, 0, 1, 1], None), CLASSES)
    assert figures["judged_on"] == "own labels"
    assert figures["sensitivity_change"] == {"normal": 0.0, "benign": -50.0}
    assert figures["specificity_change"] == {"normal": -50.0, "benign": 0.0}
    said = problems(figures, Tolerance(1.0, 0.1, agreement=0.9))
    assert said == [
        "3 of 4 labels agree (at least 90.0% must)",
        "sensitivity of benign changes by -50.0 points (allowed -1)",
        "specificity of normal changes by -50.0 points (allowed -1)",
    ]


def test_a_change_of_the_logits_is_judged_on_the_sealed_answers() -> None:
    """The final network is sure of an image it was trained on; the sealed one is not, and there the change matters."""
    sealed = [[0.9, 0.1], [0.55, 0.45], [0.2, 0.8], [0.3, 0.7]]
    found = answers([[2.0, 0.0], [1.0, 0.5], [0.0, 1.0], [0.0, 0.1]])  # no label of the final network changes
    figures = compare(found, REFERENCE, images([0, 0, 1, 1], sealed), CLASSES)
    assert figures["labels_equal"] == 4
    assert figures["judged_on"] == "held-out predictions"
    # log(.55 / .45) = 0.2 < 0.5: the second image moves over.
    assert figures["sensitivity_change"] == {"normal": -50.0, "benign": 0.0}


def test_embedding_and_maps_are_judged_too() -> None:
    found = dict(answers([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.1]]))
    found["cam"] = found["cam"] + np.float32(0.3)
    figures = compare(found, REFERENCE, images(None, None), CLASSES)
    assert figures["max_relative"] == {"embedding": 0.0, "cam": pytest.approx(0.15)}
    assert problems(figures, Tolerance(0.1, 0.1)) == ["cam differs by 0.15 of its largest value (allowed 0.1)"]


def test_not_a_number_and_another_shape_are_no_agreement() -> None:
    found = answers([[2.0, 0.0], [np.nan, 0.0], [0.0, 1.0], [0.0, 0.1]])
    with pytest.raises(GateError, match="logits"):
        compare(found, REFERENCE, images(None, None), CLASSES)
    with pytest.raises(GateError, match=r"embedding .*\(4, 2\)"):
        compare({**REFERENCE, "embedding": np.ones((4, 2), np.float32)}, REFERENCE, images(None, None), CLASSES)

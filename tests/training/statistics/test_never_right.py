"""Groups that no arm ever answers rightly, found in predictions made by hand."""

from __future__ import annotations

import dataclasses

import numpy as np

from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.tables import WORST, never_right

CLASSES = ("a", "b")


def part(groups: list[int], true: list[float], arm: str = "real", seed: int = 0) -> Predictions:
    """Predictions with these probabilities of the true class, which is the first one's for even images."""
    labels = np.arange(len(groups)) % 2
    probabilities = np.where(np.eye(2)[labels] == 1, np.array(true)[:, None], 1 - np.array(true)[:, None])
    files = tuple(f"{i}.png" for i in range(len(groups)))
    return Predictions(arm, "sealed", seed, files, np.array(groups), np.arange(len(groups)) % 2, labels, probabilities)


def test_a_group_counts_where_every_image_is_wrong_in_every_arm_and_seed() -> None:
    groups = [0, 0, 1, 1, 2, 3, 4]
    first = part(groups, [0.1, 0.2, 0.1, 0.9, 0.3, 0.2, 0.4])  # group 1 is right once
    second = part(groups, [0.3, 0.4, 0.1, 0.1, 0.3, 0.6, 0.0], "gan")  # group 3 is right here
    found = never_right([first, second, dataclasses.replace(first, seed=1)], CLASSES)
    assert (found["groups"], found["images"], found["of_groups"], found["of_images"]) == (3, 4, 5, 7)
    # The largest first, then the least probable: group 4 has (0.4 + 0.0 + 0.4) / 3, group 2 has 0.3.
    assert [own["files"] for own in found["worst"]] == [["0.png", "1.png"], ["6.png"], ["4.png"]]
    assert found["worst"][0]["labels"] == ["a", "b"] and found["worst"][0]["answers"] == ["b", "a"]
    assert np.isclose(found["worst"][1]["probability"], 0.8 / 3)


def test_images_are_matched_by_file_and_the_list_is_bounded() -> None:
    groups = list(range(40))
    wrong = [0.0] * 39 + [0.9]
    first = part(groups, wrong)
    turned = part(groups, wrong, "gan").reordered(np.arange(39, -1, -1))
    found = never_right([first, turned], CLASSES)
    assert found["images"] == 39 and len(found["worst"]) == WORST


def test_where_all_are_right_none_is_listed() -> None:
    found = never_right([part([0, 1], [0.9, 0.8])], CLASSES)
    assert found == {"groups": 0, "images": 0, "of_groups": 2, "of_images": 2, "worst": []}

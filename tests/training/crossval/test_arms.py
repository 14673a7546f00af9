"""The names of the arms, and how many images each adds."""

from __future__ import annotations

import logging

import pytest

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.crossval.arms import (
    added_counts,
    changes_of,
    classes_with_generators,
    file_stem,
    final_name,
    find_arm,
    for_classes,
    title_of,
    with_shares,
)

BUSI = (133, 437, 210)  # normal, benign, malignant


@pytest.mark.parametrize(
    ("name", "canonical", "added"),
    [
        ("real", "real", {}),
        ("weighted", "weighted", {}),
        ("gan", "gan", {0: 304, 2: 227}),  # as the thesis counts them
        ("gan:1", "gan", {0: 304, 2: 227}),
        ("gan:2.0", "gan:2", {0: 608, 2: 454}),
        ("duplicates:0.5", "duplicates:0.5", {0: 152, 2: 114}),
        ("gan-all:1", "gan-all", {0: 741, 1: 437, 2: 664}),  # 874 of each class
        ("untrained-all:2", "untrained-all:2", {0: 1178, 1: 874, 2: 1101}),  # 1311 of each
        ("generated", "generated", {0: 437, 1: 437, 2: 437}),
        ("generated:0.5", "generated:0.5", {0: 218, 1: 218, 2: 218}),
        ("shuffled@0.5", "shuffled@0.5", {0: 304, 2: 227}),
    ],
)
def test_a_name_says_how_many_images_are_added(name: str, canonical: str, added: dict[int, int]) -> None:
    assert find_arm(name).name == canonical
    assert added_counts(find_arm(name), BUSI) == added
    assert find_arm(canonical) == find_arm(name)


RANGE = r"^--arms: .*: (dose: .* is not a number above 0 and at most 100|share: .* is not .* at most 1)$"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (",gna,-all,real-all,generated-all,gan-all-all,Gan,gan -all", r"^--arms: no arm is called"),
        ("gan:,gan:0,gan:-1,gan:nan,gan:1000,gan@0,gan@2,gan@,gan:1:2,gan@0.5:2", RANGE),
        ("weighted:1", "write weighted"),
        ("gna:2", r"gan:2 \(a dose\).*did you mean gan"),
    ],
)
def test_other_names_and_doses_out_of_range_are_refused(names: str, message: str) -> None:
    for name in names.split(","):
        with pytest.raises(SonoforgeError, match=message):
            find_arm(name)


def test_of_classes_of_equal_size_all_get_images(caplog: pytest.LogCaptureFixture) -> None:
    assert added_counts(find_arm("gan:4"), (5, 5)) == {}
    assert added_counts(find_arm("gan-all:0.4"), (5, 5)) == {0: 2, 1: 2}
    asked = ("real", "gan", "duplicates:2@0.5", "generated", "classical")
    with caplog.at_level(logging.INFO, "sonoforge"):
        found = for_classes("--arms", asked, ("a", "b"), (5, 5))
    assert found == ("real", "gan-all", "duplicates-all:2@0.5", "generated", "classical")
    assert "equal size (a 5, b 5): gan adds images to all of them, as gan-all" in caplog.text
    assert for_classes("--arms", asked, ("a", "b"), (5, 6)) == asked
    for arms, expected in ((("real", "weighted"), "weighted would weight"), (("gan", "gan-all"), "are the same")):
        with pytest.raises(SonoforgeError, match=expected):
            for_classes("--arms", arms, ("a", "b"), (5, 5))


def test_shuffled_labels_need_the_generators_of_all_classes() -> None:
    assert classes_with_generators(find_arm("gan"), BUSI) == [0, 2]
    assert classes_with_generators(find_arm("gan-all"), BUSI) == [0, 1, 2]
    assert classes_with_generators(find_arm("shuffled"), BUSI) == [0, 1, 2]
    assert classes_with_generators(find_arm("shuffled"), (5, 5)) == []
    assert classes_with_generators(find_arm("untrained"), BUSI) == []


def test_shares_name_every_arm_the_largest_first() -> None:
    assert with_shares(("real", "gan:2"), (0.25, 1)) == ("real", "gan:2", "real@0.25", "gan:2@0.25")
    assert with_shares(("gan:1@1.0",), ()) == ("gan",)
    for arms, shares in ((("real@0.5",), (0.5,)), (("real",), (0.0,)), (("real",), (0.5, 0.5)), (("real",), (1.5,))):
        with pytest.raises(SonoforgeError, match="share"):
            with_shares(arms, shares)


def test_a_final_model_takes_any_arm_of_all_images() -> None:
    assert final_name("gan:1", "--arm") == "gan"
    with pytest.raises(SonoforgeError, match="share"):
        final_name("gan@0.5", "--arm")


def test_names_become_files_and_titles() -> None:
    assert file_stem("gan-all:0.5@0.25") == "gan-all-dose0.5-share0.25"
    assert title_of("gan-all:0.5@0.25").endswith("(System 2), all classes, 0.5 times, 25 % of the real images")
    assert title_of("from a later version") == "from a later version"


def test_what_earlier_versions_made_is_told_by_the_same_settings() -> None:
    """Their folds do not name what their arms could not have."""
    assert all(not changes_of(find_arm(name)) for name in ("real", "gan", "duplicates", "weighted", "classical"))
    assert changes_of(find_arm("gan-all:2@0.5")) == {"dose": 2.0, "all_classes": True, "real_share": 0.5}

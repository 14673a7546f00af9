"""Numbers are rounded, have a true minus, and stay on one line with their units."""

from __future__ import annotations

import pytest

from sonoforge.training.statistics.wording import (
    bracket,
    duration,
    figure,
    listed,
    number,
    p_value,
    points,
    share,
    size,
    times,
    tiny,
)


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (share(0.8564), "85.6\u00a0%"),
        (share(None), "n/a"),
        (share(float("nan")), "n/a"),
        (points(-0.0132), "−1.3"),
        (points(0.0132), "+1.3"),
        (points(0.0132, sign=""), "1.3"),
        (number(-0.5, 2), "−0.50"),
        (number(float("inf")), "n/a"),
        (tiny(2.44e-6), "2.4e−06"),
        (tiny(0.0), "0"),
        (p_value(0.0004), "< 0.001"),
        (p_value(0.0496), "= 0.050"),
        (duration(4.24), "4.2\u00a0s"),
        (duration(59.96), "1\u00a0min 00\u00a0s"),
        (duration(185), "3\u00a0min 05\u00a0s"),
        (duration(7620), "2\u00a0h 07\u00a0min"),
        (size(999), "999\u00a0B"),
        (size(999_960), "1.0\u00a0MB"),
        (bracket("1", "2"), "[1,\u00a02]"),
        (listed(["a"]), "a"),
        (listed(["a", "b", "c"]), "a, b and c"),
        (listed(["a", "b", "c"], 2), "a, b and 1 more"),
    ],
)
def test_numbers_print_as_a_reader_expects(printed: str, expected: str) -> None:
    assert printed == expected


def test_figures_have_three_significant_digits() -> None:
    found = [figure(value) for value in (0.031249, 58.123, 1234.4, 100.0, -0.0011, 0.0, None, float("nan"))]
    assert found == ["0.0312", "58.1", "1234", "100", "\u22120.00110", "0", "n/a", "n/a"]
    assert [times(value) for value in (0.523, 5.68, 143.2, None)] == ["0.52", "5.7", "143", "n/a"]

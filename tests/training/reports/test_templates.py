"""Templates can be read: no line is longer than a screen."""

from __future__ import annotations

from places import CHECKOUT

LONGEST = 160


def test_no_line_of_a_template_is_too_long() -> None:
    templates = sorted(CHECKOUT.glob("*/sonoforge/**/*.j2"))
    assert templates
    long = [
        f"{path.relative_to(CHECKOUT)}:{number}"
        for path in templates
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > LONGEST
    ]
    assert not long

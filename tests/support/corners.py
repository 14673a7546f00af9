"""Of many like cases, those that every run of the tests has; the rest are run by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def corners(cases: Iterable[Any], *always: Any) -> list[Any]:
    """Mark all cases but some as slow: run by hand, with ``-m slow``."""
    found = [case if case in always else pytest.param(case, marks=pytest.mark.slow) for case in cases]
    assert all(case in found for case in always), f"no such case: {always}"
    return found

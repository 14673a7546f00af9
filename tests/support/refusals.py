"""What files that cannot be read are answered with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sonoforge.runtime.errors import SonoforgeError


def assert_cannot_load(load: Callable[[], object], program: str, path: Path) -> None:
    """A damaged model file is refused in one line, which names the program that reads it and where the file lies."""
    with pytest.raises(SonoforgeError, match=f"{program} cannot load it") as raised:
        load()
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)

"""Pairs of images that a person has compared and found different: ``distinct.csv`` beside ``groups.csv``."""

from __future__ import annotations

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.datasets import Dataset, path_in, read_table

DISTINCT = "distinct.csv"


def read_distinct(dataset: Dataset) -> frozenset[frozenset[str]]:
    """Read ``distinct.csv`` (columns ``file`` and ``other``): pairs of relative paths.  No file: no pairs.

    Raises:
        SonoforgeError: Other columns, or a line that does not name two images of the set.
    """
    path = dataset.root / DISTINCT
    if not path.exists():
        return frozenset()
    rows, columns = read_table(path, "save it as UTF-8 comma-separated text")
    if not {"file", "other"} <= set(columns):
        found = ", ".join(map(str, columns)) or "nothing"
        raise SonoforgeError(f"{path}: found columns {found}, expected file,other in the first line")
    known = {item.path for item in dataset.items}
    pairs = set()
    for line, row in enumerate(rows, start=2):
        names = [path_in(row[column]) for column in ("file", "other")]
        for name in names:
            if name not in known:
                raise SonoforgeError(f"{path}: line {line} names {name!r}, expected an image of the set; correct it")
        if names[0] == names[1]:
            raise SonoforgeError(f"{path}: line {line} names {names[0]} twice, expected two images; remove the line")
        pairs.add(frozenset(names))
    return frozenset(pairs)

"""Public data sets that the project is used with: what each holds and how its owner hands it out.

Nothing is ever downloaded silently: each set has terms that its user, not a program, accepts.
To add a set, add a row to ``known_sets.csv``, whose columns are the fields of `KnownSet`.
"""

import csv
from pathlib import Path
from typing import NamedTuple

from sonoforge.training.data.collections import (
    acdc,
    cbis_ddsm,
    coco,
    frames,
    herlev,
    idrid,
    mini_mias,
    sliver07,
    yolo,
    zenodo_7890874,
)
from sonoforge.training.data.collections.importing import Collection


class KnownSet(NamedTuple):
    """One public data set."""

    name: str  # short name in common use
    content: str  # modality, task and size
    obtain: str  # where it is handed out and what to do there
    licence: str  # terms as stated by the owner; "not stated" where none could be found
    citation: str  # what to cite
    reader: str  # how `sonoforge` reads it: `as published`, or what to rearrange first


COLLECTIONS: dict[str, Collection] = {
    module.COLLECTION.name: module.COLLECTION
    for module in (acdc, cbis_ddsm, coco, frames, herlev, idrid, mini_mias, sliver07, yolo, zenodo_7890874)
}
"""The sets that ``data import`` reads; coco, frames and yolo are kinds of folders."""


def _read() -> tuple[KnownSet, ...]:
    with Path(__file__).with_suffix(".csv").open(encoding="utf-8", newline="") as stream:
        return tuple(KnownSet(**row) for row in csv.DictReader(stream))


KNOWN_SETS = _read()

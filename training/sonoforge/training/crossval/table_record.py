"""Keep beside a table of answers what tells it from an edited one: ``predictions.record.json``, which its run writes.

The record has the SHA-256 of the table and of its run's plans and folds.  It goes along when the table is kept
elsewhere.  It proves no figure, because whoever edits a table can write another record: the figures are called *as
recorded*.
"""

import datetime
import hashlib
import json
import re
from pathlib import Path

from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.csv_tables import read_text
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.training.run_folder import package_versions

RECORDERS = {"crossval": "crossval", "study": "whoever kept it without its run"}
"""Who may record a table, with the words for it; a record holds no words of its own, which could claim anything."""
_EVIDENCE = ("splits*.json", "folds/*.json", "*/splits*.json", "*/folds/*.json")  # the latter two under `LEAKAGE`
_REMEDY = "take the whole run folder, or table and record, as the run wrote them"


def record_path(table: Path) -> Path:
    """Return where the record of ``NAME.csv`` or ``NAME.csv.gz`` lies: ``NAME.record.json``."""
    return table.with_name(table.name.removesuffix(".gz").removesuffix(".csv") + ".record.json")


def write_record(table: Path, recorder: str = "crossval") -> None:
    """Record a table as it is now, with the plans and folds of its folder.

    Args:
        table: ``predictions.csv``, or a kept table.
        recorder: One of `RECORDERS`.
    """
    files = sorted(path for pattern in _EVIDENCE for path in table.parent.glob(pattern))
    about = {
        "recorded_by": recorder,
        "sonoforge": package_versions(["sonoforge"])["sonoforge"],
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }
    digests = {path.relative_to(table.parent).as_posix(): _sha256(path) for path in files}
    write_json(record_path(table), {**about, "sha256": _sha256(table), "files": digests})


def read_record(table: Path) -> str:
    """Return who recorded a table: ``crossval (sonoforge 0.1.0, 2026-11-30)``; empty without a record.

    Raises:
        SonoforgeError: The record is damaged, or the table, a plan or a fold that lies there is not the recorded one.
    """
    path = record_path(table)
    if not path.is_file():
        return ""
    with refusing(f"{path}: not the record of a table", _REMEDY):
        record = json.loads(path.read_text(encoding="utf-8"))
        version, date = record["sonoforge"], datetime.date.fromisoformat(record["date"])
        if not re.fullmatch(r"[\w.+-]{1,40}", version):
            raise ValueError("sonoforge is no version")
        for name, expected in {table.name: record["sha256"], **record["files"]}.items():
            file = table.parent / name
            if file.is_file() and (found := _sha256(file)) != expected:
                raise SonoforgeError(
                    f"{file}: was edited: its SHA-256 is {found[:12]}..., but {expected[:12]}... in {path}; {_REMEDY}"
                )
        return f"{RECORDERS[record['recorded_by']]} (sonoforge {version}, {date})"


def _sha256(file: Path) -> str:
    """Hash a file's text, unpacked and with plain line ends, so that neither gzip nor a checkout on Windows matters."""
    return hashlib.sha256(read_text(file, _REMEDY).replace("\r\n", "\n").encode()).hexdigest()

"""What checklists are filled from: the files of a finished run of ``crossval`` or ``run``."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.data.audit import Audit
from sonoforge.training.data.data_option import recorded_data
from sonoforge.training.statistics.results import ArmResult, RunResults


@dataclass(frozen=True)
class FinishedRun:
    """The figures of a run, and what it ran with."""

    name: str  # of its folder
    results: RunResults  # of `crossval`, without the keys that `run` adds
    audit: Audit | None  # of `run` alone
    environment: dict[str, Any]  # of the last start
    data: tuple[str, ...]  # as the user named it; `PHANTOM` for simulated images
    has_bundle: bool

    @property
    def arms(self) -> dict[str, ArmResult]:
        """Every arm with its figures; the first is the baseline."""
        return self.results["arms"]

    @property
    def report(self) -> str:
        """The page to look things up in."""
        return "report.html" if self.audit else "the tables of sonoforge crossval"


def read_run(folder: Path) -> FinishedRun:
    """Read a finished run.

    Raises:
        SonoforgeError: No run, an unfinished one, or one of another command.
    """
    if not run_folder.is_finished(folder):
        found = "an unfinished run" if (folder / run_folder.CONFIG).is_file() else "no run"
        raise SonoforgeError(f"{folder}: found {found}, expected a finished one of sonoforge run or crossval")
    try:
        results = run_folder.read_results(folder)
        if not {"arms", "split", "class_counts"} <= set(results):
            raise SonoforgeError(f"{folder}: found another kind of run, expected one of sonoforge run or crossval")
        audit = folder / run_folder.AUDIT
        environment = json.loads((folder / run_folder.ENVIRONMENT).read_text(encoding="utf-8"))["runs"][-1]
        return FinishedRun(
            name=folder.resolve().name,
            results=cast(RunResults, results),
            audit=cast(Audit, json.loads(audit.read_text(encoding="utf-8"))) if audit.is_file() else None,
            environment=environment,
            data=recorded_data(run_folder.read_config(folder)),
            has_bundle=(folder / "bundle" / "manifest.json").is_file(),
        )
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise SonoforgeError(f"{folder}: cannot be read ({error}); restore its files, or run it again") from error

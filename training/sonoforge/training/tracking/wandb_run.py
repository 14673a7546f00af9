"""A run of Weights & Biases in its offline mode: a folder, ``RUN/wandb``, that ``wandb sync`` sends if one wants to."""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Offline, it would still report its own errors to its makers.  Before the import.
os.environ["WANDB_ERROR_REPORTING"] = "false"

import wandb

from sonoforge.runtime.atomic import write_json
from sonoforge.training.tracking.tracker import PROJECT, Run, Tracker, numbers

log = logging.getLogger(__name__)

KEPT = "wandb.json"  # in the run folder: which run it is


class WandbRun(Tracker):
    """One run of the project `PROJECT`; the same after ``--resume``."""

    def begin(self, run: Run) -> None:
        """Open the run, without what wandb collects by itself: command, host, user, code, packages, console."""
        kept = run.folder / KEPT
        if not kept.is_file():
            write_json(kept, {"run_id": secrets.token_hex(4)})
        for place in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):  # else in the user's home
            os.environ[place] = str(run.folder.resolve() / "wandb" / "files")
        settings = wandb.Settings(
            console="off", host="unnamed", disable_code=True, disable_git=True, save_code=False, silent=True,
            x_disable_machine_info=True, x_disable_meta=True, x_disable_stats=True, x_save_requirements=False,
        )  # fmt: skip
        self._run = wandb.init(
            project=PROJECT, name=run.folder.name, id=json.loads(kept.read_text(encoding="utf-8"))["run_id"],
            config=dict(run.settings), tags=list(run.tags.values()), job_type=run.tags["verb"],
            dir=str(run.folder), mode="offline", resume="allow", settings=settings,
        )  # fmt: skip
        log.info("Weights & Biases: offline in %s; wandb sync sends it", run.folder / "wandb")

    def figures(self, step: int, values: Mapping[str, Any]) -> None:
        """Keep numbers of a step."""
        self._run.log(numbers(values), step=step)

    def picture(self, name: str, step: int, path: Path) -> None:
        """Keep a sheet of a step."""
        self._run.log({name: wandb.Image(str(path))}, step=step)

    def artifact(self, path: Path) -> None:
        """Keep a file or folder."""
        made = wandb.Artifact(f"{self._run.id}-{path.stem}", type=path.stem)
        if path.is_dir():
            made.add_dir(str(path))
        else:
            made.add_file(str(path))
        self._run.log_artifact(made)

    def close(self, finished: bool) -> None:
        """End it; what was stopped has an exit code other than 0."""
        self._run.finish(exit_code=0 if finished else 1)
        wandb.teardown()  # until now, the file may not be written to its end

"""A run in MLflow, by its own small client (mlflow-skinny)."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# MLflow reports its use to its makers unless told not to; nothing but the named server is contacted.  It prints to
# stdout, which is the answer's.  A server that is gone is given up within seconds, not four minutes: the training waits
# meanwhile.  All before the import.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from PIL import Image

from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.errors import SonoforgeError, reason
from sonoforge.training.tracking.tracker import PROJECT, Run, Tracker, numbers

log = logging.getLogger(__name__)

KEPT = "mlflow.json"  # in the run folder: which run it is
_MOST_PARAMS = 100  # of one request
# MLflow opens an experiment as one of language models unless its reader, or the link, says otherwise.
_KIND = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": "Trainings of sonoforge: choose Model training, top left",
}
_ABOUT = """Run folder `{name}` of `sonoforge {verb}`, on the data set {data}. Research use, not a medical device.

- **Overview**: settings are parameters; figures at the last step are metrics.
- **Model metrics**: figures over time; `synthetic_samples` (move its slider) are drawn by the generator, of no patient.
- **Artifacts**: bundle and charts, where the command makes some. No image of a patient is sent."""


class MlflowRun(Tracker):
    """One run of the experiment `PROJECT`; the same after ``--resume``."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        try:
            self._client = MlflowClient(tracking_uri=uri)
            self._client.get_experiment_by_name(PROJECT)
        except Exception as error:  # of its stores, too, which have errors of their own
            raise SonoforgeError(
                f"--log mlflow:{uri}: cannot be reached ({reason(error)[:200]}); start it (mlflow server), or leave "
                "--log out"
            ) from error

    def begin(self, run: Run) -> None:
        """Go on with the run that the folder names, if the server has it, else make one."""
        experiment = self._experiment()
        self._id = self._kept(run.folder)
        if not self._id:
            about = _ABOUT.format(name=run.folder.name, **run.tags)
            tags = {**run.tags, "mlflow.note.content": about, "mlflow.source.name": f"sonoforge {run.tags['verb']}"}
            made = self._client.create_run(experiment, run_name=run.folder.name, tags=tags)
            self._id = made.info.run_id
            write_json(run.folder / KEPT, {"uri": self._uri, "run_id": self._id})
        self._client.update_run(self._id, status="RUNNING")
        self._send_settings(run.settings)
        page = f"/#/experiments/{experiment}/runs/{self._id}?workflowType=machine_learning"
        where = self._uri.rstrip("/") + page if self._uri.startswith("http") else self._uri
        log.info("MLflow: experiment %s, run %s: %s", PROJECT, run.folder.name, where)

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(PROJECT)
        if found is None:
            try:
                return str(self._client.create_experiment(PROJECT, tags=_KIND))
            except MlflowException:  # another process was faster
                found = self._client.get_experiment_by_name(PROJECT)
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _kept(self, folder: Path) -> str:
        """Return the id of the run that a folder was sent as; empty where there is none, or none any more."""
        try:
            kept = json.loads((folder / KEPT).read_text(encoding="utf-8"))
            active = kept["uri"] == self._uri and self._client.get_run(kept["run_id"]).info.lifecycle_stage == "active"
        except (OSError, ValueError, KeyError):
            return ""
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return ""
        return str(kept["run_id"]) if active else ""

    def _send_settings(self, settings: Mapping[str, str]) -> None:
        """Send settings as parameters, which MLflow never changes: one that did since is a tag beside them."""
        known = self._client.get_run(self._id).data.params
        new = [Param(name, text) for name, text in settings.items() if name not in known]
        changed = [
            RunTag(f"{name}.continued", text) for name, text in settings.items() if known.get(name, text) != text
        ]
        for begin in range(0, max(1, len(new)), _MOST_PARAMS):
            self._client.log_batch(self._id, params=new[begin : begin + _MOST_PARAMS], tags=[] if begin else changed)

    def figures(self, step: int, values: Mapping[str, Any]) -> None:
        """Send numbers as metrics."""
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in numbers(values).items()]
        self._client.log_batch(self._id, metrics=metrics)

    def picture(self, name: str, step: int, path: Path) -> None:
        """Send a sheet as an image that the page shows by step."""
        with Image.open(path) as sheet:
            self._client.log_image(self._id, sheet.convert("RGB"), key=name, step=step)

    def artifact(self, path: Path) -> None:
        """Send a file or folder under its own name."""
        if path.is_dir():
            self._client.log_artifacts(self._id, str(path), path.name)
        else:
            self._client.log_artifact(self._id, str(path))

    def close(self, finished: bool) -> None:
        """Set the status; one that was stopped goes on with ``--resume``."""
        self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")

"""``log.tracker``: send a run to MLflow or Weights & Biases.

Sent are settings, figures, sheets of generated images, and the bundle.  No path, file name or image of a patient is.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.errors import SonoforgeError, reason
from sonoforge.training import run_folder

log = logging.getLogger(__name__)

PROJECT = "sonoforge"  # MLflow's experiment, or the project of Weights & Biases, that holds all runs
# Settings that name files and folders of the images, or where and how to go on.
_NOT_SENT = frozenset({"data", "groups_from", "out", "log", "resume", "jobs", "cluster", "cache", "cache_limit"})


class Run(NamedTuple):
    """What a tracker learns of a run at its beginning."""

    folder: Path  # whose name is the run's
    tags: Mapping[str, str]  # ``verb``, ``data`` and ``sonoforge``, its version
    settings: Mapping[str, str]  # those that have a value


class Tracker:
    """Where a run is sent; this one sends nothing."""

    def begin(self, run: Run) -> None:
        """Begin a run, or continue the one that its folder names."""

    def figures(self, step: int, values: Mapping[str, Any]) -> None:
        """Send the numbers among these values, of a step, an epoch or a fold."""

    def picture(self, name: str, step: int, path: Path) -> None:
        """Send a sheet of generated images, a PNG."""

    def artifact(self, path: Path) -> None:
        """Send a file, or a folder with its content."""

    def close(self, finished: bool) -> None:
        """End the run; one that was stopped before its end can be resumed."""


NONE = Tracker()


def send_history(tracker: Tracker, history: Sequence[Mapping[str, float]]) -> None:
    """Send the learning curve of a classifier: the mean of its networks, by epoch."""
    for row in history:
        own = {f"training/{name}": value for name, value in row.items() if name != "epoch"}
        tracker.figures(int(row["epoch"]), own)


def figures_of(evaluation: Mapping[str, Any], of: str) -> dict[str, float]:
    """Return accuracy and macro-AUC of an evaluation, with the prefix ``of``."""
    return {f"{of}/{name}": evaluation[name]["value"] for name in ("accuracy", "macro_auc")}


def connect(named: str) -> Tracker:
    """Return the tracker that ``log.tracker`` names, after checking that it can be reached.

    Raises:
        SonoforgeError: An unknown tracker, a password in its URI, a missing package, or no answer.
    """
    if not named:
        return NONE
    kind, _, where = named.partition(":")
    if not (kind == "mlflow" and where) and named != "wandb:offline":
        raise SonoforgeError(
            "--set log.tracker: expected mlflow:URI, such as mlflow:http://localhost:5000, or wandb:offline, not "
            f"{named!r}"
        )
    if re.search(r"//[^/]*@", where):
        raise SonoforgeError(
            "--set log.tracker=mlflow:...: credentials in the URI would be written into the run's records; set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
        )
    if importlib.util.find_spec(kind) is None:
        raise SonoforgeError(f"--set log.tracker={kind}: {kind} is not installed; pip install 'sonoforge[{kind}]'")
    return _Guarded(named, _Mlflow(where) if kind == "mlflow" else _Wandb())


@contextlib.contextmanager
def sending(tracker: Tracker, folder: Path, verb: str, data: str, settings: Mapping[str, Any]) -> Iterator[None]:
    """Send everything inside as one run with these settings; a finished run is not sent again.

    Raises:
        SonoforgeError: The tracker refuses the run.
    """
    if tracker is NONE or run_folder.is_finished(folder):
        yield
        return
    tags = {"verb": verb, "data": data, **run_folder.package_versions(["sonoforge"])}
    texts = {name: _text(value) for name, value in settings.items() if name not in _NOT_SENT}
    tracker.begin(Run(folder, tags, {name: text for name, text in texts.items() if text}))
    try:
        yield
    finally:
        tracker.close(run_folder.is_finished(folder))


def _text(value: object) -> str:
    """Return a setting as text; of a path, its last part."""
    if value is None or isinstance(value, bool | int | float):
        return "" if value is None else str(value)
    if isinstance(value, tuple | list):
        return ",".join(map(_text, value))
    return re.split(r"[/\\]", str(value).rstrip("/\\"))[-1]


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers among some values, under names of letters, digits and ``_ - . /``."""
    return {
        re.sub(r"[^\w./-]", "_", name): float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and name != "step"
    }


class _Guarded(Tracker):
    """Keep a training alive when its tracker fails: the first failure ends the sending, and is logged."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self._name, self._tracker, self._failed = name, tracker, False

    def begin(self, run: Run) -> None:
        try:
            self._tracker.begin(run)
        except Exception as error:  # each tracker has errors of its own
            raise SonoforgeError(
                f"--set log.tracker={self._name}: refused the run ({reason(error)[:200]}); correct that, or leave "
                "it out"
            ) from error

    def figures(self, step: int, values: Mapping[str, Any]) -> None:
        self._try(self._tracker.figures, step, values)

    def picture(self, name: str, step: int, path: Path) -> None:
        self._try(self._tracker.picture, name, step, path)

    def artifact(self, path: Path) -> None:
        self._try(self._tracker.artifact, path)

    def close(self, finished: bool) -> None:
        self._try(self._tracker.close, finished)
        if self._failed:
            log.warning("log.tracker %s: its copy of this run is incomplete; the run folder has all", self._name)

    def _try(self, send: Callable[..., None], *values: Any) -> None:
        if self._failed:
            return
        try:
            send(*values)
        except Exception as error:  # whatever it is, no training is lost for it
            self._failed = True
            log.warning(
                "log.tracker %s: figures are no longer sent (%s); the training goes on", self._name, reason(error)
            )


_MOST_PARAMS = 100  # of one request to MLflow
# MLflow takes an experiment for one of language models unless the experiment, or the link, says otherwise.
_KIND = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": "Trainings of sonoforge: choose Model training, top left",
}
_ABOUT = """Run folder `{name}` of `sonoforge {verb}`, on the data set {data}. Research use, not a medical device.

- **Overview**: settings are parameters; figures at the last step are metrics.
- **Model metrics**: figures over time; `synthetic_samples` (move its slider) are drawn by the generator, of no patient.
- **Artifacts**: bundle and charts, where the command makes some. No image of a patient is sent."""


class _Mlflow(Tracker):
    """One run of the experiment `PROJECT`, by mlflow-skinny's client; resumed runs continue it."""

    def __init__(self, uri: str) -> None:
        # Before the import: no reports to its makers, nothing printed on stdout, which is for answers, and a server
        # that is gone is given up within seconds instead of four minutes.
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow import MlflowClient  # noqa: PLC0415 - an extra

        self._uri = uri
        try:
            self._client = MlflowClient(tracking_uri=uri)
            self._client.get_experiment_by_name(PROJECT)
        except Exception as error:  # its stores have errors of their own
            raise SonoforgeError(
                f"--set log.tracker=mlflow:{uri}: cannot be reached ({reason(error)[:200]}); start it (mlflow "
                "server), or leave "
                "it out"
            ) from error

    def begin(self, run: Run) -> None:
        from mlflow.entities import Param, RunTag  # noqa: PLC0415

        experiment, kept = self._experiment(), run.folder / "mlflow.json"
        self._id = self._kept(kept)
        if not self._id:
            about = _ABOUT.format(name=run.folder.name, **run.tags)
            tags = {**run.tags, "mlflow.note.content": about, "mlflow.source.name": f"sonoforge {run.tags['verb']}"}
            self._id = self._client.create_run(experiment, run_name=run.folder.name, tags=tags).info.run_id
            write_json(kept, {"uri": self._uri, "run_id": self._id})
        self._client.update_run(self._id, status="RUNNING")
        # MLflow never changes a parameter: a setting that has changed since becomes a tag.
        known = self._client.get_run(self._id).data.params
        new = [Param(name, text) for name, text in run.settings.items() if name not in known]
        changed = [
            RunTag(f"{name}.continued", text) for name, text in run.settings.items() if known.get(name, text) != text
        ]
        for first in range(0, max(1, len(new)), _MOST_PARAMS):
            self._client.log_batch(self._id, params=new[first : first + _MOST_PARAMS], tags=[] if first else changed)
        page = f"/#/experiments/{experiment}/runs/{self._id}?workflowType=machine_learning"
        where = self._uri.rstrip("/") + page if self._uri.startswith("http") else self._uri
        log.info("MLflow: experiment %s, run %s: %s", PROJECT, run.folder.name, where)

    def _experiment(self) -> str:
        """Return the id of the experiment, made or restored if need be."""
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        try:
            return str(self._client.create_experiment(PROJECT, tags=_KIND))
        except MlflowException:  # it exists
            found = self._client.get_experiment_by_name(PROJECT)
            if found is None:
                raise
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _kept(self, path: Path) -> str:
        """Return the id of the run that a folder was sent as; empty if it was not, or if that run was deleted."""
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            active = kept["uri"] == self._uri and self._client.get_run(kept["run_id"]).info.lifecycle_stage == "active"
            return str(kept["run_id"]) if active else ""
        except (OSError, ValueError, KeyError):
            return ""
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return ""

    def figures(self, step: int, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric  # noqa: PLC0415

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in _numbers(values).items()]
        self._client.log_batch(self._id, metrics=metrics)

    def picture(self, name: str, step: int, path: Path) -> None:
        with Image.open(path) as sheet:
            self._client.log_image(self._id, sheet.convert("RGB"), key=name, step=step)

    def artifact(self, path: Path) -> None:
        if path.is_dir():
            self._client.log_artifacts(self._id, str(path), path.name)
        else:
            self._client.log_artifact(self._id, str(path))

    def close(self, finished: bool) -> None:
        self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")


class _Wandb(Tracker):
    """One run of the project `PROJECT` in offline mode: a folder, ``RUN/wandb``, for ``wandb sync`` to send."""

    def begin(self, run: Run) -> None:
        """Open the run without what wandb collects by itself: command, host, user, code, packages, console."""
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # before the import: not even its own errors
        import wandb  # noqa: PLC0415 - an extra

        kept = run.folder / "wandb.json"
        if not kept.is_file():
            write_json(kept, {"run_id": secrets.token_hex(4)})
        for place in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):  # else in the user's home
            os.environ[place] = str(run.folder.resolve() / "wandb" / "files")
        settings = wandb.Settings(
            console="off", host="unnamed", disable_code=True, disable_git=True, save_code=False, silent=True,
            x_disable_machine_info=True, x_disable_meta=True, x_disable_stats=True, x_save_requirements=False,
        )  # fmt: skip
        self._wandb = wandb
        self._run = wandb.init(
            project=PROJECT, name=run.folder.name, id=json.loads(kept.read_text(encoding="utf-8"))["run_id"],
            config=dict(run.settings), tags=list(run.tags.values()), job_type=run.tags["verb"],
            dir=str(run.folder), mode="offline", resume="allow", settings=settings,
        )  # fmt: skip
        log.info("Weights & Biases: offline in %s; wandb sync sends it", run.folder / "wandb")

    def figures(self, step: int, values: Mapping[str, Any]) -> None:
        self._run.log(_numbers(values), step=step)

    def picture(self, name: str, step: int, path: Path) -> None:
        self._run.log({name: self._wandb.Image(str(path))}, step=step)

    def artifact(self, path: Path) -> None:
        made = self._wandb.Artifact(f"{self._run.id}-{path.stem}", type=path.stem)
        if path.is_dir():
            made.add_dir(str(path))
        else:
            made.add_file(str(path))
        self._run.log_artifact(made)

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)
        self._wandb.teardown()  # only now is the file complete

"""The one seam to trackers: what is sent of a run.

No file name of an image is sent, no path and no image of a patient: settings, figures, sheets of generated images, and
the bundle, which holds none either.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.errors import SonoforgeError, reason
from sonoforge.training import run_folder

log = logging.getLogger(__name__)


PROJECT = "sonoforge"  # the experiment of MLflow, or the project of Weights & Biases, that all runs are in


class Run(NamedTuple):
    """What a tracker is told of a run at its beginning."""

    folder: Path  # whose name is the run's
    tags: Mapping[str, str]  # ``verb``, ``data`` and ``sonoforge``, its version
    settings: Mapping[str, str]  # those that have a value


class Tracker:
    """Where a run is sent to; this one sends nothing."""

    def begin(self, run: Run) -> None:
        """Begin a run, or go on with it where its folder says which it is."""

    def figures(self, step: int, values: Mapping[str, Any]) -> None:
        """Send the numbers among these values, of a step, an epoch or a fold."""

    def picture(self, name: str, step: int, path: Path) -> None:
        """Send a sheet of generated images, a PNG."""

    def artifact(self, path: Path) -> None:
        """Send a file, or a folder with all that is in it."""

    def close(self, finished: bool) -> None:
        """Say that the run has ended, or was stopped before its end."""


NONE = Tracker()


def send_history(tracker: Tracker, history: Sequence[Mapping[str, float]]) -> None:
    """Send the learning curve of a classifier: the mean of its networks, by epoch."""
    for row in history:
        own = {f"training/{name}": value for name, value in row.items() if name != "epoch"}
        tracker.figures(int(row["epoch"]), own)


def figures_of(evaluation: Mapping[str, Any], of: str) -> dict[str, float]:
    """Return accuracy and macro-AUC of an evaluation, under the name of what they are of."""
    return {f"{of}/{name}": evaluation[name]["value"] for name in ("accuracy", "macro_auc")}


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers among some values, under names of letters, digits and ``_ - . /``."""
    return {
        re.sub(r"[^\w./-]", "_", name): float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and name != "step"
    }


# Settings that name files and folders of the images, or where and how to go on.
_NOT_SENT = frozenset({"data", "groups_from", "out", "log", "resume", "jobs", "cluster", "cache", "cache_limit"})


class _Guarded(Tracker):
    """Lets a training go on when its tracker fails: the first failure ends the sending, and is logged."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self._name, self._tracker, self._failed = name, tracker, False

    def begin(self, run: Run) -> None:
        try:
            self._tracker.begin(run)
        except Exception as error:  # each tracker has errors of its own
            raise SonoforgeError(
                f"--log {self._name}: refused the run ({reason(error)[:200]}); see what it says, or leave --log out"
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
            log.warning("--log %s: its copy of this run is incomplete; the run folder has all", self._name)

    def _try(self, send: Callable[..., None], *values: Any) -> None:
        if self._failed:
            return
        try:
            send(*values)
        except Exception as error:  # whatever it is, it is no reason to lose a training
            self._failed = True
            log.warning("--log %s: figures are no longer sent (%s); the training goes on", self._name, reason(error))


def connect(named: str) -> Tracker:
    """Return the tracker that ``--log`` names, after a look whether it is there.

    Raises:
        SonoforgeError: Another name, a password in it, a package that is not installed, or no answer.
    """
    if not named:
        return NONE
    kind, _, where = named.partition(":")
    if kind == "mlflow" and where:
        if re.search(r"//[^/]*@", where):
            raise SonoforgeError(
                "--log mlflow:...: found credentials in the URI, which would be written into the run's records; give "
                "them as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        _check_installed(kind)
        from sonoforge.training.tracking.mlflow_run import MlflowRun  # noqa: PLC0415 - an extra

        return _Guarded(named, MlflowRun(where))
    if named == "wandb:offline":
        _check_installed(kind)
        from sonoforge.training.tracking.wandb_run import WandbRun  # noqa: PLC0415 - an extra

        return _Guarded(named, WandbRun())
    raise SonoforgeError(
        f"--log: found {named!r}, expected mlflow:URI, such as mlflow:http://localhost:5000, or wandb:offline"
    )


def _check_installed(kind: str) -> None:
    if importlib.util.find_spec(kind) is None:
        raise SonoforgeError(f"--log {kind}: {kind} is not installed; pip install 'sonoforge[{kind}]'")


@contextlib.contextmanager
def sending(tracker: Tracker, folder: Path, verb: str, data: str, settings: Mapping[str, Any]) -> Iterator[None]:
    """Send what is sent while inside as one run, with these settings; of a finished one, nothing is.

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

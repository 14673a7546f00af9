"""``sonoforge classify``: classify images, folders and globs, offline.

JSON (``--json``) is one object:

* ``results``: one entry for each file in the order given, documented in `answer_file`, and ``copy_of``, the first file
  of this run with the same pixels, or ``seems_copy_of``, an earlier one that seems to show the same picture;
  ``series``, the first file of the neighbouring frames that it seems to belong to, or the file itself; with
  ``--overlay`` also ``overlay``, the path of its picture; for DICOM with ``--sr`` and ``--sc`` also ``sr`` and ``sc``,
  the paths of its report and its secondary capture; and ``unwritten``, the reasons, if anything requested besides an
  answer could not be written. For a file that cannot be used it is ``{"file", "ok": False, "error": {"code",
  "message"}}`` with the codes of `ImageError`;
* ``model``: ``{"name", "version", "sha256"}`` of the model file that answered;
* ``provider``: the onnxruntime provider that ran it;
* ``clinic``: ``{"prevalence": {class: share}, "sensitivity"}`` that the answers are for;
* ``crop``: ``{"used", "in_training"}``, rows of `preprocessing.CROPS`;
* ``summary``: ``{"files", "ok", "failed", "labels": {class: count}, "verdicts": {row of `verdict.STATES`: count},
  "quality_flagged", "marked", "repeated", "trained_on", "unwritten", "skipped": {kind: count}}``. Marked scans carry
  burned-in marks; repeated ones have ``copy_of`` or ``seems_copy_of``; ``trained_on``, null if the bundle cannot tell,
  counts the network's training images. Skipped files are not scans: files of other kinds, masks beside their image, and
  pictures that sonoforge itself drew or generated.
* ``notice``.

CSV (``--csv``) holds one row for each file, appended as soon as it is answered: Ctrl-C, SIGTERM or a kill loses only
those being worked on. ``--resume`` answers the files missing from the CSV, each once. It answers a changed file again,
and refuses rows of another bundle, model file, crop or ``--abstain``, using the column ``settings``. Repeats and series
only cover files of the same run.

With ``--watch`` each scan that appears in a folder is answered once, when its size stops changing; Ctrl-C or SIGTERM
ends it normally. Exit code 0 if every file was answered; 2 if any could not be answered or written: its entry says why,
and the other answers are still printed and written.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.inference.loading import LoadingModel

if TYPE_CHECKING:
    from sonoforge.runtime.settings import ClassifyConfig

_FEW_PATHS = 3  # a shell turns a glob into thousands


def main(config: ClassifyConfig) -> Outcome:
    """Classify every file; see the top of this module for the result and the exit code."""
    model = LoadingModel(config.bundle or None, config.file, config.threads)
    from sonoforge.runtime.jobs.classifying import classify  # noqa: PLC0415 - imported while the model is loaded

    answers, complete = classify(config, model)
    return Outcome(answers, _next(config, answers["summary"]["ok"]), 0 if complete else 2)


def _next(config: ClassifyConfig, answered: int) -> str:
    """Return the next step for a person: to look at the answers beside their scans."""
    if not answered or config.anonymous or config.watch or "-" in config.paths or len(config.paths) > _FEW_PATHS:
        return ""
    if config.html:
        return f"open {config.html} in a browser"
    bundle = f" --bundle {shlex.quote(config.bundle)}" if config.bundle else ""
    return f"sonoforge classify {shlex.join(config.paths)}{bundle} --html answers.html"

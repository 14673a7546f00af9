"""``sonoforge classify``: answer for images, folders and globs, offline.

JSON (``--json``) is one object:

* ``results``: one entry for each file in the order given, as `answer_file` documents it, and ``copy_of``, the first
  file of this run with the same pixels, or ``seems_copy_of``, an earlier one that seems to show the same picture;
  ``series``, the first file of the neighbouring frames that it seems to belong to, itself if there is none; with
  ``--overlay`` also ``overlay``, the path of its picture; with ``--sr`` and ``--sc`` and for DICOM ``sr`` and
  ``sc``, the paths of its report and its secondary capture;
  where anything that was asked for beside an answer could not be written, ``unwritten``, the reasons.  For a file that
  cannot be used ``{"file", "ok": False, "error": {"code", "message"}}`` with the codes of `ImageError`;
* ``model``: ``{"name", "version", "sha256"}`` of the file that answered;
* ``provider``: onnxruntime's, that ran it;
* ``clinic``: ``{"prevalence": {class: share}, "sensitivity"}`` that the answers are for;
* ``crop``: ``{"used", "in_training"}``, rows of `preprocessing.CROPS`;
* ``summary``: ``{"files", "ok", "failed", "labels": {class: count}, "verdicts": {row of `verdict.STATES`: count},
  "quality_flagged", "marked", "repeated", "unwritten", "skipped": {kind: count}}``.  Marked
  scans carry burned-in marks; repeated ones have ``copy_of`` or ``seems_copy_of``.  Skipped are files of a folder that
  are no scans: those of other kinds, masks beside their image, and pictures that sonoforge itself drew or generated.
* ``notice``.

CSV (``--csv``) holds one row for each file, appended as soon as it is answered: an end by
Ctrl-C, SIGTERM or kill loses none but those being worked on.  ``--resume`` answers the files that such a file lacks,
each once; a file that has changed since is answered anew, and rows of another bundle, model file, crop or ``--abstain``
are refused, by their column ``settings``.  Repeats and series are told of files of the same run alone.

With ``--watch`` each scan that appears in a folder is answered once, when its size no longer changes; Ctrl-C or SIGTERM
ends it as a command that is done.

Exit code 0 when every file was answered; 2 when any could not be, or anything of it not be written: its entry says why,
and the other answers are still printed and written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sonoforge.runtime.inference.loading import LoadingModel

if TYPE_CHECKING:
    from sonoforge.runtime.cli.options import Outcome
    from sonoforge.runtime.verbs.settings import ClassifyConfig


def main(config: ClassifyConfig) -> Outcome:
    """Classify every file; see the top of this module for the result and the exit code."""
    model = LoadingModel(config.bundle or None, config.file, config.threads)
    from sonoforge.runtime.verbs.classifying import classify  # noqa: PLC0415 - imported while the model is loaded

    return classify(config, model)

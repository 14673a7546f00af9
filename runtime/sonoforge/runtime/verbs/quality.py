"""``sonoforge quality``: measure the quality of each image, offline.

JSON (``--json``) is one object:

* ``results``: one entry for each file in the order given, ``{"file", "ok": True, "remarks": [phrases], "quality":
  {metric: value, ..., "flags": []}, "scan": {"metrics", "lesion", "flags", "advice", "severity"}, "marks", "copy_of",
  "seems_copy_of"}``, or ``{"file", "ok": False, "error": {"code", "message"}}``. ``quality`` has the metrics of
  `images.quality_metrics.measure`, in the network's view, as in ``classify``; ``scan`` has the metrics of
  `quality_metrics` in the scan's own pixels: ``lesion`` is null without a mask ``NAME_mask.png`` beside the file;
  ``advice`` has a sentence for each flag, ``severity`` says how far out of range they are, in widths of the band. With
  a bundle for images other than breast ultrasound, which these were not measured on, ``speckle_snr``, ``lesion`` and
  ``seems_copy_of`` are null, and ``marks`` empty. ``marks`` says what is burned in, as text; ``copy_of`` is the first
  file of the batch with the same pixels, ``seems_copy_of`` an earlier one that seems to show the same picture, saved
  again, scaled or brightened;
* ``model``: ``{"name", "version", "sha256"}`` of the bundle that provides the reference ranges and the embedding;
* ``summary``: ``{"files", "ok", "failed", "quality_flagged", "flags": {flag: count}, "skipped": {kind: count}}``: flags
  of both kinds; skipped files are not scans, counted as in ``classify``;
* ``reference``: ``{"images", "bands": {metric: [low, high]}}`` for ``scan``: 5th and 95th percentile of this many
  training images; no bands if the bundle has none;
* ``notice``.

CSV (``--csv``) holds one row for each file; ``--html`` shows the scans with their figures, the worst first.

Exit code 0 if every file was measured; 2 if any could not be: the others still are.
"""

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.images.quality_metrics import SCAN
from sonoforge.runtime.jobs.measuring import measure_files
from sonoforge.runtime.notice import NOTICE
from sonoforge.runtime.settings import QualityConfig


def main(config: QualityConfig) -> Outcome:
    """Measure every file; see the top of this module for the result."""
    measured = measure_files(config)
    summary = measured["summary"]
    if not measured["reference"]["bands"]:
        say("no reference for %s: the bundle has no bands of them", ", ".join(SCAN))
    counts = (summary[key] for key in ("ok", "files", "quality_flagged"))
    say("%d of %d files measured, %d with a fault.\n%s", *counts, NOTICE)
    return Outcome(measured, exit_code=2 if summary["failed"] else 0)

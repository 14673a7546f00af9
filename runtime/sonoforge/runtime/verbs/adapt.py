"""``sonoforge adapt``: fit a bundle's decision rules to one clinic with a few labelled scans, offline.

JSON (``--json``):

* ``bundle``, ``site_bundle``: the original and the bundle written, or null;
* ``scans``: ``{class: number}``; ``groups``; ``unlabelled``: scans without a class, used only for ``trust``;
* ``trained_on``: how many of all these trained the network, so that the figures say nothing about the site, or null;
* ``failed``: entries of files that could not be answered;
* ``prevalence``: ``{class: share}``; ``thresholds``: ``{class: [before, after]}``, of sets, before for probabilities of
  equally frequent classes and after at the site's shares; ``points``: ``{question: [before, after]}`` at the
  sensitivity asked for;
* ``trust``: ``{"limit", "scans", "before", "after"}``: how many times the training's limits a scan like the site's may
  reach, and the share of scans called unlike before and after, see `adaptation.Reach`;
* ``figures``: ``{figure: {"before", "after", "change": [value, low, high]}}``, by patient-wise cross-validation;
* ``verdict``: ``better``, ``not told apart`` or ``worse``, by accuracy;
* ``notice``.

Exit code 0 if the bundle was written; 1 if the gain's interval is below 0 and nothing was written; 2 if there was
nothing to fit on.
"""

from __future__ import annotations

import logging

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.jobs.adapting import adapt, in_rows, reach_in_words
from sonoforge.runtime.notice import NOTICE
from sonoforge.runtime.settings import AdaptConfig

log = logging.getLogger(__name__)


def main(config: AdaptConfig) -> Outcome:
    """Adapt a bundle; see the top of this module for the result and the exit code."""
    result, fitted = adapt(config)
    counts = ", ".join(f"{count} {name}" for name, count in result["scans"].items())
    total = sum(result["scans"].values())
    without = f", and {result['unlabelled']} without a class" if result["unlabelled"] else ""
    say("%d labelled scans (%s) of %d patients%s", total, counts, result["groups"], without)
    tell(fitted.warning)
    for name, *rest in in_rows(fitted.compared):
        say("%-25s  %7s  %7s  %s", name, *rest)
    say("Each patient's scans were answered by what was fitted on all the others'.")
    say("%s", reach_in_words(fitted.reach))
    worse = [name for name, one in fitted.compared.items() if one.change.high < 0 and name != "mean size of a set"]
    if worse:
        log.warning("worse than chance explains: %s", ", ".join(worse))
    low, high = (100 * bound for bound in fitted.compared["accuracy"].change[1:])
    verdict = "no gain is shown" if result["verdict"] == "not told apart" else result["verdict"]
    say("Right labels: between %+.0f and %+.0f points: %s.", low, high, verdict)
    if not result["site_bundle"]:
        log.error("nothing was written: the bundle is better unchanged on these scans")
        return Outcome(result, exit_code=1)
    say("written: %s; the network's file is unchanged.  %s", config.out, NOTICE)
    return Outcome(result, f"sonoforge classify IMAGES --bundle '{config.out}'")

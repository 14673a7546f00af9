"""``sonoforge adapt``: fit a bundle's decision rules to one clinic with a few labelled scans, offline."""

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.jobs.adapting import adapt, in_rows, reach_in_words, scans_in_words
from sonoforge.runtime.notice import NOTICE
from sonoforge.runtime.settings import AdaptConfig

CROSSED = "Each patient's scans were answered by what was fitted on all the others'."


def main(config: AdaptConfig) -> Outcome:
    """Adapt a bundle."""
    result, fitted = adapt(config)
    for sentence in scans_in_words(result):
        tell(sentence)
    for name, *rest in in_rows(fitted.compared):
        say("%-25s  %7s  %7s  %s", name, *rest)
    for sentence in (CROSSED, reach_in_words(fitted.reach), *fitted.said):
        tell(sentence)
    if not result["site_bundle"]:
        return Outcome(result, exit_code=1)
    say("written: %s; the network's file is unchanged.  %s", config.out, NOTICE)
    return Outcome(result, f"sonoforge classify IMAGES --bundle '{config.out}'" if result["better"] else "")

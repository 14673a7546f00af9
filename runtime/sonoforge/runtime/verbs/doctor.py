"""``sonoforge doctor``: report what is installed here, what can run, and what to install for the rest.

JSON: ``ok``, ``problems`` (lines: what is wrong with the base install), ``machine`` ({"python", "platform", "cpu",
"cores", "gpus", "free_disk_bytes"}), ``base`` ({package: version or null}), ``extras`` ({name: {"complete",
"installed": {package: version}, "missing": [requirements], "install"}}), ``programs`` ({first part of a format's name:
"" or why its files cannot be run here}), ``bundle`` ({"name", "version"}, or null without one).

Exit code 0; 1 if the base install is broken.
"""

from sonoforge.runtime import installation
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.settings import DoctorConfig


def main(config: DoctorConfig) -> Outcome:
    """Examine this installation; see the top of this module for the result and the exit code."""
    report = installation.examine()
    here = report["machine"]
    say("machine     %s, %d cores; Python %s, %s", here["cpu"], here["cores"], here["python"], here["platform"])
    say("            GPUs: %s", "; ".join(here["gpus"]) or "none that nvidia-smi sees")
    say("            free disk here: %.1f GB", here["free_disk_bytes"] / 1e9)
    say("base        %s", ", ".join(f"{name} {version or 'MISSING'}" for name, version in report["base"].items()))
    if report["bundle"]:
        say("bundle      %s %s, shipped", report["bundle"]["name"], report["bundle"]["version"])
    say("\nextras%s", "" if report["extras"] else ": unknown, as sonoforge runs from a folder and is not installed")
    for name, extra in report["extras"].items():
        state = "complete" if extra["complete"] else f"{extra['install']}  (missing: {', '.join(extra['missing'])})"
        say("  %-10s  %s", name, state)
    say("\nmodel files%s", "" if report["programs"] else ": unknown until the base install works")
    for name, why in report["programs"].items():
        say("  %-12s  %s", name, why or "can run")
    for problem in report["problems"]:
        say("problem     %s", problem)
    say("\nresult      %s", "the base install works" if report["ok"] else "the base install is BROKEN")
    return Outcome(report, "sonoforge verify" if report["ok"] else "", 0 if report["ok"] else 1)

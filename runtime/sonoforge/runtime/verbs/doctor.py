"""``sonoforge doctor``: report what is installed here, what can run, and what to install for the rest."""

from sonoforge.runtime import installation
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import install_extra
from sonoforge.runtime.settings import DoctorConfig


def main(config: DoctorConfig) -> Outcome:
    """Examine this installation."""
    report = installation.examine()
    here = report["machine"]
    say("machine     %s, %d cores; Python %s, %s", here["cpu"], here["cores"], here["python"], here["platform"])
    say("            GPUs: %s", "; ".join(here["gpus"]) or "none that nvidia-smi sees")
    say("            free disk here: %.1f GB", here["free_disk_bytes"] / 1e9)
    say("base        %s", ", ".join(f"{name} {version or 'MISSING'}" for name, version in report["base"].items()))
    if report["bundle"]:
        say("bundle      %s %s", report["bundle"]["name"], report["bundle"]["version"])
    known = f", each by  {install_extra('NAME')}" if report["extras"] else ": unknown, as sonoforge is not installed"
    say("\nextras%s", known)
    for name, extra in report["extras"].items():
        state = "complete" if extra["complete"] else f"missing: {', '.join(extra['missing'])}"
        say("  %-10s  %s", name, state)
    say("\nmodel files%s", "" if report["programs"] else ": unknown until the base install works")
    for name, why in report["programs"].items():
        say("  %-12s  %s", name, why or "can run")
    for problem in report["problems"]:
        say("problem     %s", problem)
    say("\nresult      %s", "the base install works" if report["ok"] else "the base install is BROKEN")
    return Outcome(report, "sonoforge verify" if report["ok"] else "", 0 if report["ok"] else 1)

"""``sonoforge verify``: check that a bundle is complete and gives the same answers on this machine."""

from typing import Any

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.inference.golden import verify
from sonoforge.runtime.settings import VerifyConfig


def main(config: VerifyConfig) -> Outcome:
    """Check one bundle."""
    result = verify(config.bundle, config.trust, config.key)
    show(result)
    if not result["ok"]:
        return Outcome(result, exit_code=1)
    used = "classify IMAGE" if "labels_equal" in result["golden"] else "gan sample"
    return Outcome(result, f"sonoforge {used}" + (f" --bundle '{config.bundle}'" if config.bundle else ""))


def show(result: dict[str, Any]) -> None:
    """Print what `verify` found."""
    say("bundle    %s", result["bundle"])
    if "model" in result:
        say("model     %s %s, sha256 %s", *(result["model"][key] for key in ("name", "version", "sha256")))
        say("files     %d, every size and SHA-256 as its manifest states", len(result["files"]))
        say("figures   %s", result["figures"])
        say("golden    %d images, tolerance %g", result["golden"]["images"], result["golden"]["tolerance"])
        for name, difference in result["golden"]["max_abs_difference"].items():
            say("          %-13s max. difference %.2g", name, difference)
        for name, row in result["formats"].items():
            figure = f"max. difference {row['max_abs_difference']:.2g}" if "max_abs_difference" in row else ""
            say("format    %-17s %-7s %s", name, row["status"], figure or row["reason"])
        say("provider  %s", result["provider"])
        say("versions  %s", ", ".join(f"{name} {version}" for name, version in result["versions"].items()))
    for problem in result["problems"]:
        say("problem   %s", problem)
    say("result    %s", "passed" if result["ok"] else "FAILED")

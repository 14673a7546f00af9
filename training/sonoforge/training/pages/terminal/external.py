"""What ``validate`` prints of a collection."""

from __future__ import annotations

from collections.abc import Mapping

from sonoforge.runtime.cli.answer import say
from sonoforge.training.external.disturbances import DISTURBANCES
from sonoforge.training.external.figures import ExternalFigures
from sonoforge.training.external.labels import name_meaning
from sonoforge.training.external.robustness import Robustness
from sonoforge.training.statistics.results import change_text, interval_text

_NAMED = 3  # files that a line names


def log_collection(figures: ExternalFigures, unreadable: Mapping[str, str], trained_on: Mapping[str, str]) -> None:
    """Print the figures of one collection, and what of it was left out."""
    say("")
    counts = ", ".join(
        f"{count} {name_meaning(label, figures['labels'][label])}" for label, count in figures["images"].items()
    )
    say("%s: %s; %d groups (95 %% intervals by group)", figures["name"], counts, figures["groups"])
    for why, left_out in (("cannot be read", unreadable), ("were trained on, or other versions of them", trained_on)):
        if left_out:
            first = "; ".join(f"{file} ({reason})" for file, reason in list(left_out.items())[:_NAMED])
            say("  LEFT OUT: %d images %s: %s", len(left_out), why, first)
    say("  %-32s %s", "accuracy", interval_text(figures["accuracy"]))
    for label, own in figures["sensitivity"].items():
        beside = interval_text(figures["specificity"][label])
        say("  %-32s %s   specificity %s", f"sensitivity to {label}", interval_text(own), beside)
    for pair, area in figures["auc"].items():
        say("  AUC %-28s %s", pair, interval_text(area))
    for label, points in figures["sensitivity_at"].items():
        for point in points:
            reached = f"at {point['specificity']['value']:.3f} specificity (aim {point['aim']:.2f}; threshold from the"
            say("  %-32s %s %s other half)", f"sensitivity to {label}", interval_text(point["sensitivity"]), reached)
    say("  %-32s %s", "ECE of the probabilities", interval_text(figures["ece"]))
    for label, share in figures["coverage"].items():
        say("  %-32s %s", f"sets that hold {label}", interval_text(share))
    say("  %-32s %.2f", "classes in a set", figures["mean_set_size"])
    images = sum(figures["images"].values())
    for row in figures["flags"]:
        ratio = row["ratio"]
        times = f", {ratio['value']:.1f} times [{ratio['low']:.1f}, {ratio['high']:.1f}]" if ratio else ""
        errors, others = row["errors"]["value"], row["errors_of_others"]["value"]
        say("  %-32s %d of %d: wrong %.3f, others %.3f%s", row["flag"], row["images"], images, errors, others, times)
    for place in figures["devices"]:
        areas = ", ".join(f"{pair} {interval_text(area)}" for pair, area in place["auc"].items())
        say(
            "  device %s: %d images, accuracy %s, AUC %s",
            place["name"],
            sum(place["images"].values()),
            interval_text(place["accuracy"]),
            areas or "of one label alone",
        )


def log_robustness(found: Robustness) -> None:
    """Print how far the AUC falls under each disturbance, and how often the scan is called foreign or poor."""
    say("")
    say("  %d of these images, disturbed: AUC of %s, and share called foreign or poor", found["images"], found["pair"])
    say(
        "  %-44s AUC %s             noticed %.2f", "as they are", interval_text(found["auc"]), found["noticed"]["value"]
    )
    for row in found["disturbed"]:
        kind = DISTURBANCES[row["kind"]]
        change = change_text(row["change"])
        named = f"{kind.title}, {row['strength']:g} {kind.unit}"
        say("  %-44s AUC %.3f, change %s, noticed %.2f", named, row["auc"]["value"], change, row["noticed"]["value"])

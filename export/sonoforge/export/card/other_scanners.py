"""The part of a classifier's card on other scanners: by collection, collections left out, disturbed scans."""

from collections.abc import Sequence

from sonoforge.export.card.files import table
from sonoforge.training.classifier.model_folder import ModelRecord
from sonoforge.training.data.split_plan import LEAVE_ONE_OUT
from sonoforge.training.external.disturbances import DISTURBANCES
from sonoforge.training.external.figures import DisturbedFigures, Robustness
from sonoforge.training.statistics.results import SourceFigures, interval_text, share_text


def on_other_scanners(record: ModelRecord) -> list[str]:
    """Say how the figures differ by collection, and what a stranger's scanner will get."""
    evaluation = record.evaluation
    own = [row for row in evaluation.get("by_source", []) if row["kind"] == "collection"]
    left_out, sealed = record.elsewhere.get("left_out"), record.elsewhere.get("sealed")
    disturbed = record.elsewhere.get("disturbed")
    all_left_out = evaluation["protocol"] == LEAVE_ONE_OUT
    lines = ["## Other scanners", ""]
    if own:
        trained_on = "on the other collections alone" if all_left_out else "on the other images of it, too"
        expected = ": what a scanner that the network does not know can expect" if all_left_out else ""
        lines += [f"The held-out images above, by collection; networks were trained {trained_on}{expected}.", ""]
        lines += _table(own)
    if sealed:
        lines += [
            f"{_networks(record, 'sealed').capitalize()} in sealed folds (seed {sealed['seed']}), trained on other "
            "images of the same collection, too: what the hospitals of these collections can expect.",
            "",
            *_table(sealed["collections"]),
        ]
    if left_out:
        lines += [
            f"Each collection answered by {_networks(record, 'left_out')} that were trained on the other collections "
            f"alone (seed {left_out['seed']}): what a scanner that the network does not know can expect. Temperature, "
            "sets and thresholds are from the answers to the other collections.",
            "",
            *_table(left_out["collections"]),
        ]
    if disturbed:
        lines += _disturbed(disturbed, _networks(record, "disturbed"))
    if not left_out and not all_left_out:
        lines += ["How the recipe does on collections that it was not trained on was not recorded.", ""]
    if not disturbed:
        lines += ["How it does on scans with more shadow, other gain, haze and the like was not recorded.", ""]
    return lines


def _table(rows: Sequence[SourceFigures]) -> list[str]:
    pairs = list(dict.fromkeys(pair for row in rows for pair in row["auc"]))
    heads = ["collection", "images", "accuracy", *(f"AUC {pair}" for pair in pairs), "ECE", "coverage of the sets"]
    found = []
    for row in rows:
        counts = ", ".join(f"{count} {name}" for name, count in row["images"].items() if count)
        areas = [interval_text(row["auc"][pair]) if pair in row["auc"] else "-" for pair in pairs]
        figures = (share_text(row["accuracy"]), *areas, interval_text(row["ece"]), share_text(row["coverage"]))
        found.append((row["name"], counts, *figures))
    return table(heads, found)


def _networks(record: ModelRecord, table: str) -> str:
    """Name the networks behind a table of other runs, and what sets them apart from the bundle's."""
    teachers = record.elsewhere.get("teachers", {}).get(table)
    if teachers is None:
        return "networks of the same recipe"
    return f"networks of the same recipe, but {f'distilled from {teachers}' if teachers else 'not distilled'},"


def _disturbed(by_collection: dict[str, Robustness], networks: str) -> list[str]:
    """Show each disturbance at its strongest: the change of the AUC, and how often the scan is called unfit."""
    untouched = "; ".join(
        f"{name}: AUC of {own['pair']} {interval_text(own['auc'])} on {own['images']} images, "
        f"{share_text(own['noticed'])} called foreign or poor"
        for name, own in by_collection.items()
    )
    lines = [
        f"Scans disturbed as another scanner, setting or hand would, answered by {networks} that were "
        "trained without the collection: change of the AUC at the strongest of three strengths, and the share of scans "
        f"called foreign or poor. As they are, {untouched}.",
        "",
    ]
    rows = []
    for kind, disturbance in DISTURBANCES.items():
        cells = [_strongest([row for row in own["disturbed"] if row["kind"] == kind]) for own in by_collection.values()]
        rows.append([f"{disturbance.title}, {disturbance.strengths[-1]:g} {disturbance.unit}", *cells])
    return [*lines, *table(["disturbance", *by_collection], rows)]


def _strongest(rows: Sequence[DisturbedFigures]) -> str:
    if not rows:
        return "-"
    return f"{rows[-1]['change']['value']:+.3f}, noticed {rows[-1]['noticed']['value']:.0%}"

"""The parts of the report on one class against the rest, and on scans that were never answered rightly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from sonoforge.training.data.cache import ImageCache
from sonoforge.training.pages.clusters import Card, Scan, picture
from sonoforge.training.pages.run import charts
from sonoforge.training.statistics.one_against_rest import classes_of_interest
from sonoforge.training.statistics.results import (
    ClassDifference,
    ComparisonResults,
    ComparisonRow,
    OneAgainstRest,
    SensitivityAt,
    WrongCluster,
)
from sonoforge.training.statistics.wording import listed, number

_CHARTED_CLASSES = 4  # of a data set without a class `malignant`; the others are in `results.json`
_SHOWN_THRESHOLDS = (0.02, 0.05, 0.10, 0.20, 0.30, 0.50)
_SHOWN_SCANS = 6  # of a cluster


class ClassOfInterest(NamedTuple):
    """One class against the rest: its share of the images, figures by title of the arm, differences by name, charts.

    ``columns`` are the indices of the decision curve's thresholds that the table shows.
    """

    name: str
    frequency: float
    arms: dict[str, OneAgainstRest]
    points: list[SensitivityAt]
    differences: dict[str, ClassDifference]
    forest: Markup
    curves: Markup
    columns: list[int]


def one_against_rest(results: ComparisonResults, comparisons: Sequence[ComparisonRow]) -> list[ClassOfInterest]:
    """Collect what the page shows of each class of interest; empty for a run of an earlier version."""
    arms = results["arms"]
    if any("one_against_rest" not in figures for figures in arms.values()):
        return []
    titles = {name: figures["title"] for name, figures in arms.items()}
    shown = []
    for name in classes_of_interest(results["classes"])[:_CHARTED_CLASSES]:
        figures = {own["title"]: own["one_against_rest"][name] for own in arms.values()}
        points = next(iter(figures.values()))["sensitivity_at"]
        thresholds = next(iter(figures.values()))["decision_curve"]["thresholds"]
        differences = {
            compared(row, titles): row["one_against_rest"][name] for row in comparisons if "one_against_rest" in row
        }
        rows = [charts.Difference(which, row["sensitivity_at"][0]["difference"]) for which, row in differences.items()]
        shown.append(
            ClassOfInterest(
                name=name,
                frequency=results["class_counts"][results["classes"].index(name)] / sum(results["class_counts"]),
                arms=figures,
                points=points,
                differences=differences,
                forest=charts.difference_forest(rows, f"the sensitivity to {name}") if rows else Markup(),
                curves=charts.decision_curves(arms, name),
                columns=[i for i, threshold in enumerate(thresholds) if threshold in _SHOWN_THRESHOLDS],
            )
        )
    return shown


def compared(row: ComparisonRow, titles: Mapping[str, str]) -> str:
    """Name a comparison: what is subtracted from what."""
    return f"{titles[row['second']]} \u2212 {titles[row['first']]}"


def wrong_cards(clusters: Sequence[WrongCluster], cache: ImageCache) -> list[Card]:
    """Make the cards of groups that were never answered rightly."""
    index = {item.path: i for i, item in enumerate(cache.dataset.items)}
    return [_wrong_card(cluster, cache, [index[file] for file in cluster["files"]]) for cluster in clusters]


def _wrong_card(cluster: WrongCluster, cache: ImageCache, members: Sequence[int]) -> Card:
    scans = [
        Scan(
            cluster["files"][i].rsplit("/", 1)[-1],
            cache.dataset.items[member].label,
            picture(cache, member),
            "{} × {}".format(*cache.sizes[member]),
        )
        for i, member in enumerate(members[:_SHOWN_SCANS])
    ]
    called = listed(list(dict.fromkeys(cluster["answers"])))
    facts = [f"called {called}", f"mean probability of its label {number(cluster['probability'], 2)}"]
    facts += [f"{_SHOWN_SCANS} of {len(members)} shown"] if len(members) > _SHOWN_SCANS else []
    return Card(scans, len(members), len(set(cluster["labels"])) > 1, " · ".join(facts))

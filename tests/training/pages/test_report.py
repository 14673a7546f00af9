"""The report prints what predictions.csv says, claims no more than its intervals, and loads nothing."""

from __future__ import annotations

import csv
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from report_factory import EPOCHS, Run, make_run, write_reads
from sonoforge.runtime.errors import GateError
from sonoforge.training.classifier.fold_result import StageReads
from sonoforge.training.gan.settings import GanSettings
from sonoforge.training.pages.run.evidence import check_reads, read_plans, reliability
from sonoforge.training.pages.run.page import command_line, write_report
from sonoforge.training.pages.run.plots import difference_forest
from sonoforge.training.pages.run.words import (
    duration,
    gan_budget,
    gan_comparison,
    judge,
    judge_arm,
    judge_gan,
    listed,
    number,
    p_value,
    points,
    share,
    size,
    tiny,
)
from sonoforge.training.pages.svg import column_means, nice_ticks, text, wrapped
from sonoforge.training.statistics import tables
from sonoforge.training.statistics.calibration import expected_calibration_error
from sonoforge.training.statistics.predictions import read_predictions

VOID = {"meta", "img", "br", "hr", "input", "link"}
LOADING = {"script", "link", "iframe", "object", "embed", "base", "form", "audio", "video", "source", "use", "image"}


class Page(HTMLParser):
    """Reads a page strictly: tags must balance; keeps tags, tables and text."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.words: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(source)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()
        if tag == "table":
            self.tables[self._caption.strip()] = self._rows

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.words.append(data)
        if "caption" in self.open:
            self._caption += data
        elif self.open and {"td", "th"} & set(self.open):
            self._rows[-1][-1] += data

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    def table(self, begin: str) -> list[list[str]]:
        """The table whose caption begins so, cells with plain spaces."""
        found = [rows for caption, rows in self.tables.items() if caption.startswith(begin)]
        assert len(found) == 1, f"{len(found)} tables begin with {begin!r}: {list(self.tables)}"
        return [[re.sub(r"\s+", " ", cell).strip() for cell in row] for row in found[0]]


def written(run: Run) -> Page:
    return Page(write_report(*run).read_text(encoding="utf-8"))


def csv_arm(folder: Path, arm: str, seed: int = 0) -> tuple[list[str], Any, Any]:
    """Classes, labels and probabilities of one arm, read without our reader."""
    rows = [r for r in csv.DictReader((folder / "predictions.csv").open()) if (r["arm"], r["seed"]) == (arm, str(seed))]
    classes = [name[2:] for name in rows[0] if name.startswith("p_")]
    labels = np.array([classes.index(r["label"]) for r in rows])
    return classes, labels, np.array([[float(r[f"p_{c}"]) for c in classes] for r in rows])


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Page]:
    run = make_run(tmp_path_factory.mktemp("sealed") / "00001-run-invented")
    return run, written(run)


@pytest.fixture(scope="module")
def thesis(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Page]:
    arms = (("real", 0.6), ("gan", 0.95), ("duplicates", 0.6))
    run = make_run(tmp_path_factory.mktemp("thesis") / "run", protocol="thesis", arms=arms, seeds=2)
    return run, written(run)


# ---- the page as a document


def test_the_page_is_whole_accessible_and_loads_nothing(
    sealed: tuple[Run, Page], thesis: tuple[Run, Page], tmp_path: Path
) -> None:
    single = make_run(
        tmp_path, classes=("one", "two"), counts=(16, 16), arms=(("real", 0.8),), folds=2, with_bundle=False
    )
    for page, run in ((sealed[1], sealed[0]), (thesis[1], thesis[0]), (written(single), single)):
        source = (run.folder / "report.html").read_text(encoding="utf-8")
        assert len(source.encode()) < 6_000_000
        tags = [tag for tag, _ in page.tags]
        assert not LOADING & set(tags)
        for tag, attributes in page.tags:
            assert attributes.get("src", "data:").startswith("data:image/") if "src" in attributes else True
            assert attributes.get("href", "#").startswith("#")
            assert not {"srcset", "action", "background", "poster", "xlink:href"} & set(attributes)
            assert not any(name.startswith("on") for name in attributes)
            assert tag != "img" or attributes["alt"]
            assert tag != "th" or attributes["scope"] in ("row", "col", "colgroup", "rowgroup")
            assert (
                tag != "svg"
                or attributes.get("aria-hidden")
                or (attributes["role"] == "img" and attributes["aria-label"])
            )
        style = source[source.index("<style>") : source.index("</style>")]
        assert "url(" not in style and "@import" not in style
        ids = [a["id"] for _, a in page.tags if "id" in a]
        assert len(ids) == len(set(ids))
        targets = {a["href"][1:] for _, a in page.tags if "href" in a}
        assert targets <= set(ids) and {"data", "split", "results", "glossary"} <= targets
        assert tags.count("table") == tags.count("caption") == len(page.tables)
        levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
        assert "prefers-color-scheme: dark" in style and "@media print" in style
        assert 'lang="en"' in source and 'name="viewport"' in source


def test_what_a_run_did_not_make_is_left_out(sealed: tuple[Run, Page], tmp_path: Path) -> None:
    run = make_run(tmp_path, classes=("one", "two"), counts=(16, 20), arms=(("real", 0.8),), folds=2, with_bundle=False)
    page, full = written(run), sealed[1]
    for words in ("Does the GAN help?", "Bundle and parity", "Published figures beside ours", "McNemar p"):
        assert words in full.text and words not in page.text
    ids = {a.get("id") for _, a in page.tags}
    assert "generator" not in ids and "bundle" not in ids and "results" in ids


def test_many_classes_keep_the_layout(tmp_path: Path) -> None:
    classes = [f"class {i} with a long name" for i in range(20)]
    run = make_run(tmp_path, classes, [4] * 18 + [3, 3], (("gan", 0.7),), folds=2)
    page = written(run)
    assert ("table", {"class": "confusion many"}) in page.tags
    matrix = page.table(run.results["arms"]["gan"]["title"])
    assert matrix[0][1:] == [str(i + 1) for i in range(20)]
    assert [row[0] for row in matrix[1:]] == [f"{i + 1} {name}" for i, name in enumerate(classes)]


# ---- figures


def test_the_tables_equal_a_second_computation_from_predictions_csv(sealed: tuple[Run, Page]) -> None:
    run, page = sealed
    results = page.table("Results of all arms")[1:]
    by_class = page.table("Sensitivity and specificity")
    calibration = page.table("Calibration before")[1:]
    for n, arm in enumerate(("real", "gan")):
        classes, labels, probabilities = csv_arm(run.folder, arm)
        answers = probabilities.argmax(axis=1)
        summing_to_one = probabilities / probabilities.sum(axis=1, keepdims=True)
        expected = [
            f"{100 * metrics.accuracy_score(labels, answers):.1f} %",
            f"{100 * metrics.balanced_accuracy_score(labels, answers):.1f} %",
            f"{metrics.f1_score(labels, answers, average='macro'):.3f}",
            f"{metrics.roc_auc_score(labels, summing_to_one, multi_class='ovr'):.3f}",
        ]
        assert [cell.split(" [")[0] for cell in results[n][1:]] == expected
        for i, name in enumerate(classes):
            row = next(row for row in by_class if row[0] == name)
            for column, hits, trials in (
                (1, (answers == i)[labels == i].sum(), (labels == i).sum()),
                (2, (answers != i)[labels != i].sum(), (labels != i).sum()),
            ):
                ends = stats.binomtest(int(hits), int(trials)).proportion_ci(0.95, "wilson")
                cell = f"{100 * hits / trials:.1f} % [{100 * ends.low:.1f}, {100 * ends.high:.1f}]"
                assert row[2 * n + column] == cell
        matrix = page.table(f"{run.results['arms'][arm]['title']}, 96 images")
        counts = metrics.confusion_matrix(labels, answers)
        shares = counts / counts.sum(axis=1, keepdims=True)
        cells = [[f"{c}{100 * s:.1f} %" for c, s in zip(*row, strict=True)] for row in zip(counts, shares, strict=True)]
        assert [row[1:] for row in matrix[1:]] == cells
        truth = np.eye(len(classes))[labels]
        assert calibration[n][3] == f"{((probabilities - truth) ** 2).sum(axis=1).mean():.3f}"


def test_intervals_and_paired_comparison_are_those_of_the_evidence(sealed: tuple[Run, Page]) -> None:
    run, page = sealed
    again = tables.evaluate(*read_predictions(run.folder / "predictions.csv"))
    for row, arm in zip(page.table("Results of all arms")[1:], ("real", "gan"), strict=True):
        for cell, name, scale, digits in (
            (row[1], "accuracy", 100, 1),
            (row[2], "balanced_accuracy", 100, 1),
            (row[3], "macro_f1", 1, 3),
            (row[4], "macro_auc", 1, 3),
        ):
            figure = again["arms"][arm][name]
            low, high = (f"{scale * figure[end]:.{digits}f}" for end in ("low", "high"))
            assert cell.endswith(f"[{low}, {high}]")
    (row,) = page.table("Differences, in percentage points")[1:]
    comparison = again["comparisons"][0]
    change = comparison["accuracy_difference"]
    figures = [f"{100 * change[k]:+.1f}".replace("-", "−") for k in ("value", "low", "high")]
    assert row[1] == f"{figures[0]} [{figures[1]}, {figures[2]}]"
    _, labels, first = csv_arm(run.folder, "real")
    second = csv_arm(run.folder, "gan")[2]
    right = [p.argmax(axis=1) == labels for p in (first, second)]
    only = [int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())]
    assert [int(cell) for cell in row[3:5]] == only
    assert row[5] == f"{stats.binomtest(only[0], sum(only)).pvalue:.3f}"
    assert row[6] == f"{100 * comparison['minimum_detectable_difference']:.1f}"


def test_the_first_screen_repeats_figures_of_the_tables(sealed: tuple[Run, Page]) -> None:
    run, page = sealed
    head = page.text[: page.text.index("Images by class")]
    accuracy = run.results["arms"]["real"]["accuracy"]
    assert share(accuracy["value"]).replace("\u00a0", " ") in head
    assert "research use, not a medical device" in head.lower()
    assert "small CPU budget: 64 px, 120 steps of 32 images" in head
    assert "4200 epochs, batches of 150 for malignant" in head
    worst = min(run.results["arms"]["real"]["sensitivity"].items(), key=lambda item: item[1]["value"])
    assert f"Lowest sensitivity: {worst[0]}" in head


def test_data_split_parity_and_time_are_printed_as_given(sealed: tuple[Run, Page]) -> None:
    run, page = sealed
    assert [row[:2] for row in page.table("Images by class")[1:]] == [
        ["normal", "24"], ["benign", "40"], ["malignant", "32"],
    ]  # fmt: skip
    folds = page.table("Test images of each fold")[1:]
    plan = json.loads((run.folder / "splits.json").read_text())
    labels, fold_of = np.array(plan["labels"]), np.array(plan["fold_of"])
    for fold, row in enumerate(folds):
        counts = np.bincount(labels[fold_of == fold], minlength=3)
        assert [int(cell) for cell in row] == [fold + 1, *counts, counts.sum(), 0]
    assert "1 carries more than one label" in page.text
    parity = page.table("Does the exported file answer")
    assert parity[1] == ["logits", "2.4e−06", "0"] and ["equal labels", "32 of 32", "all of 6"] in parity
    assert page.table("Files of the bundle")[1] == ["model.onnx", "8.9 MB", "ab" * 32]
    times = dict(page.table("Time taken")[1:4])
    assert times == {"data": "0.4 s", "cross-validation": "3 min 05 s", "final model": "1 h 01 min"}
    assert "sonoforge run --data 'my scans'" in page.text and "--resume" not in page.text
    trainings = page.table("Trainings of the generators")[1:]
    assert [row[:5] for row in trainings] == [[c, "4", "17", "120", "32"] for c in ("normal", "malignant")]
    assert [row[-2:] for row in trainings] == [["1", "0"], ["1", "0"]]
    assert "ended collapsed" not in page.text


def test_collapsed_generators_are_told_beside_the_answer(sealed: tuple[Run, Page]) -> None:
    run = sealed[0]
    path = run.folder / "gan" / "seed0-fold01" / "malignant" / "stats.jsonl"
    before = path.read_text()
    rows = [json.loads(line) for line in before.splitlines()]
    rows[-1] |= {"collapsed": True, "diversity": 0.1}
    try:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 13')  # cut short by a kill
        page = written(run)
    finally:
        path.write_text(before)
    assert "1 of 8 trainings ended collapsed" in page.text
    assert page.table("Trainings of the generators")[2][-2:] == ["2", "1"]


def test_published_rows_are_called_claims_and_kept_apart_from_other_data(sealed: tuple[Run, Page]) -> None:
    page = sealed[1]
    rows = page.table("Accuracy, then sensitivity")
    assert rows[0][5:] == ["normal", "benign", "malignant"]
    system1 = next(row for row in rows if row[0].startswith("System 1"))
    assert system1[3:] == ["93.4 %", "98.7 %", "93 / 96", "89 / 95", "90 / 95"]
    assert "claims of the papers" in page.text and "cannot be compared with them at all" in page.text
    ours = sealed[0].results["arms"]["real"]
    cells = [f"{100 * ours[k][c]['value']:.0f}" for c in rows[0][5:] for k in ("sensitivity", "specificity")]
    assert [cell for row in rows if row[0] == ours["title"] for part in row[5:] for cell in part.split(" / ")] == cells


def test_the_reliability_bins_sum_up_to_the_printed_ece(sealed: tuple[Run, Page]) -> None:
    _, labels, probabilities = csv_arm(sealed[0].folder, "real")
    bins = reliability(labels, probabilities)
    assert sum(b.images for b in bins) == len(labels)
    ece = sum(b.images * abs(b.accuracy.value - b.confidence) for b in bins) / len(labels)
    assert ece == pytest.approx(expected_calibration_error(labels, probabilities))
    assert sealed[1].table("Calibration before")[1][1] == f"{ece:.3f}"


def test_several_seeds_are_listed(thesis: tuple[Run, Page]) -> None:
    run, page = thesis
    row = page.table("Spread over folds and seeds")[1]
    shares = []
    for seed in (0, 1):
        _, labels, probabilities = csv_arm(run.folder, "real", seed)
        shares.append(np.mean(probabilities.argmax(axis=1) == labels))
    assert row[5] == ", ".join(f"{100 * value:.1f} %" for value in shares)
    assert row[4] == f"{100 * np.mean(shares):.1f} % ± {100 * np.std(shares, ddof=1):.1f}"


# ---- proof and checks


def test_sealed_proof_is_counted_again_from_the_folds(sealed: tuple[Run, Page]) -> None:
    rows = sealed[1].table("What the trainings read")[1:]
    # 4 folds of 2 arms read 72 of 96 images each; normal + malignant are 56, three quarters of them a fold.
    assert rows == [["classifiers", "8", str(8 * 72), "0", "0"], ["generators", "8", str(3 * 56), "0", "0"]]
    assert all(row[2] == "passed" for row in sealed[1].table("Checks made")[1:])
    assert "0 of 96 test images have a near-duplicate" in sealed[1].text


def test_thesis_says_what_leaks_and_is_no_failure(thesis: tuple[Run, Page]) -> None:
    run, page = thesis
    generators = page.table("What the trainings read")[2]
    assert generators[0] == "generators" and generators[3] == str(2 * 56)  # all images of two classes, two seeds
    twins = sum(run.results["split"]["test_images_with_a_twin_in_training"])
    assert twins > 0 and f"{twins} of 96 test images have a near-duplicate" in page.text
    assert "no evidence of help" in page.text and "come out too good" in page.text
    placebo = page.table("Differences, in percentage points")[3]
    assert placebo[0].startswith("real + generated") and "placebo" in placebo[0]


def test_a_training_that_read_a_test_image_fails_the_report(tmp_path: Path) -> None:
    run = make_run(tmp_path, classes=("one", "two"), counts=(16, 16), arms=(("real", 0.8),), folds=2, with_bundle=False)
    path = run.folder / "folds" / "real-seed0-fold00.json"
    fold, plan = json.loads(path.read_text()), json.loads((run.folder / "splits.json").read_text())
    fold["reads"]["classifier"].append(plan["hashes"][plan["fold_of"].index(0)])
    path.write_text(json.dumps(fold))
    with pytest.raises(GateError, match="test images that a classifier read"):
        write_report(*run)
    page = Page((run.folder / "report.html").read_text(encoding="utf-8"))
    assert "Do not use these results" in page.text and "FAILED" in page.text


def test_a_group_member_in_training_is_found_where_contents_differ(sealed: tuple[Run, Page], tmp_path: Path) -> None:
    run = sealed[0]
    plans = read_plans(run.folder)
    plan = plans[0]
    groups = np.array(plan["groups"])
    twins = np.flatnonzero(groups == np.flatnonzero(np.bincount(groups) == 2)[0])
    fold = plan["fold_of"][twins[0]]
    stages = [StageReads("classifier", (plan["hashes"][twins[0]],)), StageReads("generated", ("0" * 64,))]
    write_reads(tmp_path / "folds" / "real.json", 0, fold, stages)
    reads = check_reads(tmp_path, plans)
    assert set(reads) == {"classifier"}
    assert reads["classifier"].same_content == {(0, twins[0])}
    assert reads["classifier"].same_group == {(0, i) for i in twins}


def test_results_that_predictions_csv_does_not_bear_out_fail_the_report(tmp_path: Path) -> None:
    run = make_run(tmp_path, classes=("one", "two"), counts=(16, 16), arms=(("real", 0.8),), folds=2, with_bundle=False)
    confusion = run.results["arms"]["real"]["confusion"]
    confusion[0][0], confusion[0][1] = confusion[0][0] + 1, confusion[0][1] - 1
    with pytest.raises(GateError, match="confusion matrix counted again"):
        write_report(*run)


# ---- hostile names


def test_names_from_files_are_escaped(tmp_path: Path) -> None:
    classes = ("<script>alert(1)<", '"onmouseover="alert(2)', "</title></style>&{{7*7}}")
    # A folder name cannot hold a slash, so nothing here is written to disk under the class's name.
    run = make_run(tmp_path, classes, (16, 16, 16), (("real", 0.8),), folds=2, with_bundle=False)
    (run.folder / "config.yaml").write_text("data: '</pre><script>alert(3)</script>'\n")
    run.results["data"] = "<img src=x onerror=alert(4)>"
    run.results["weights"] = "<b onclick=alert(5)>"
    run.audited["unreadable"] = {"x": "<svg/onload=alert(6)>: cannot be read"}
    page = written(run)
    tags = {tag for tag, _ in page.tags}
    assert not LOADING & tags
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    for words in (*classes, "alert(3)", "<img src=x onerror=alert(4)>", "<b onclick", "<svg/onload=alert(6)>"):
        assert words in page.text
    assert all(attributes["src"].startswith("data:") for tag, attributes in page.tags if tag == "img")


def test_chart_labels_are_escaped() -> None:
    assert text(0, 0, "<a>&\"'") == '<text class="" x="0.0" y="0.0" text-anchor="start">&lt;a&gt;&amp;&#34;&#39;</text>'
    titles = {"a": "<script>", "b": "x"}
    assert "<script>" not in difference_forest([comparison("a", "b", 0.1, 0.0, 0.2, 0.5)], titles)


# ---- words


def comparison(
    first: str, second: str, value: float, low: float, high: float, p: float, smallest: float | None = 0.02
) -> dict[str, Any]:
    interval = {"value": value, "low": low, "high": high}
    test = {"first_only": 10, "second_only": 20, "p_value": p}
    return {
        "first": first,
        "second": second,
        "accuracy_difference": interval,
        "macro_auc_difference": interval,
        "mcnemar": test,
        "minimum_detectable_difference": smallest,
    }


ARMS = {
    name: {"title": f"the {name} arm", "images": 780, "accuracy": {"value": value}}
    for name, value in (("real", 0.85), ("gan", 0.87), ("duplicates", 0.86))
}


@pytest.mark.parametrize(
    ("value", "low", "high", "p", "level", "words"),
    [
        (0.03, 0.01, 0.05, 0.01, "yes", "Yes, in this run: adding generated images raised accuracy"),
        (-0.03, -0.05, -0.01, 0.01, "no", "No: adding generated images lowered accuracy"),
        (0.01, -0.01, 0.03, 0.4, "open", "Not shown"),
        (-0.01, -0.03, 0.01, 0.4, "open", "Not shown"),
        (0.03, 0.001, 0.05, 0.06, "open", "Not shown"),  # the interval alone is not enough
        (0.03, -0.001, 0.05, 0.04, "open", "Not shown"),  # nor is McNemar alone
        (-0.03, -0.05, -0.001, 0.05, "open", "Not shown"),
        (0.0, 0.0, 0.0, 1.0, "open", "Not shown"),
        (float("nan"), float("nan"), float("nan"), 1.0, "open", "Not shown"),
    ],
)
def test_the_verdict_follows_interval_and_mcnemar(
    value: float, low: float, high: float, p: float, level: str, words: str
) -> None:
    verdict = judge_gan(comparison("real", "gan", value, low, high, p), None, ARMS, "sealed")
    assert verdict.level == level and verdict.headline.startswith(words)
    said = " ".join(verdict.sentences)
    assert f"McNemar p = {p:.3f}" in said and "differences from about 2.0 points up" in said
    assert ("Zero lies inside the interval" in said) == (level == "open" and not (low > 0 or high < 0) and p >= 0.05)
    assert ("only where both agree" in said) == ((low > 0 or high < 0) != (p < 0.05))
    assert ("No placebo arm" in said) == (level == "yes")


def test_a_gain_is_not_put_down_to_the_gan_without_beating_the_placebo() -> None:
    gain = comparison("real", "gan", 0.03, 0.01, 0.05, 0.01)
    equal = judge_gan(gain, comparison("duplicates", "gan", 0.01, -0.01, 0.03, 0.5), ARMS, "sealed")
    assert equal.level == "open" and "not shown to be the generator's doing" in equal.headline
    beaten = judge_gan(gain, comparison("duplicates", "gan", 0.03, 0.01, 0.05, 0.02), ARMS, "sealed")
    assert beaten.level == "yes" and "beat the placebo" in " ".join(beaten.sentences)


def test_a_gain_under_the_leaking_protocol_is_no_evidence() -> None:
    verdict = judge_gan(comparison("real", "gan", 0.03, 0.01, 0.05, 0.01), None, ARMS, "thesis")
    assert verdict.level == "open" and "no evidence of help" in verdict.headline


def test_a_missing_minimum_detectable_difference_is_said_not_invented() -> None:
    for nothing in (None, float("nan")):
        verdict = judge_gan(comparison("real", "gan", 0.0, 0.0, 0.0, 1.0, nothing), None, ARMS, "sealed")
        assert "too few of the 780 images" in verdict.sentences[-1]


def test_the_comparison_is_turned_round_where_the_gan_is_the_baseline() -> None:
    row = gan_comparison([comparison("gan", "real", -0.03, -0.05, -0.01, 0.01)])
    assert row is not None and (row["first"], row["second"]) == ("real", "gan")
    assert row["accuracy_difference"] == {"value": 0.03, "low": 0.01, "high": 0.05}
    assert (row["mcnemar"]["first_only"], row["mcnemar"]["second_only"]) == (20, 10)
    assert judge(row) == "better"
    assert gan_comparison([comparison("real", "duplicates", 0, 0, 0, 1)]) is None
    assert gan_comparison([comparison("duplicates", "gan", 0, 0, 0, 1)]) is None


def test_arms_without_a_gan_are_compared_in_words() -> None:
    verdict = judge_arm(comparison("real", "duplicates", 0.01, -0.01, 0.03, 0.4), ARMS)
    assert verdict.headline == "the duplicates arm: not shown to differ from the real arm"


def test_the_budget_of_the_gan_is_called_what_it_is() -> None:
    def said(budget: str, **settings: Any) -> str:
        return gan_budget(GanSettings(**settings).__dict__, budget, ["normal", "malignant"])

    assert said("quick", image_size=64, steps=120, batch=32).startswith("small CPU budget: 64 px, 120 steps of 32")
    assert said("paper").startswith("the published budget: 224 px")
    assert said("paper", epochs=30).startswith("budget of this run: 224 px, 30 epochs (published: 224 px, 2500")
    assert "published budget" not in said("paper", learning_rate=2e-4)


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (share(0.8564), "85.6\u00a0%"),
        (share(None), "n/a"),
        (share(float("nan")), "n/a"),
        (points(-0.0132), "−1.3"),
        (points(0.0132), "+1.3"),
        (points(0.0132, sign=""), "1.3"),
        (number(-0.5, 2), "−0.50"),
        (number(float("inf")), "n/a"),
        (tiny(2.44e-6), "2.4e−06"),
        (tiny(0.0), "0"),
        (p_value(0.0004), "< 0.001"),
        (p_value(0.0496), "= 0.050"),
        (duration(4.24), "4.2\u00a0s"),
        (duration(59.96), "1\u00a0min 00\u00a0s"),
        (duration(185), "3\u00a0min 05\u00a0s"),
        (duration(7620), "2\u00a0h 07\u00a0min"),
        (size(999), "999\u00a0B"),
        (size(999_960), "1.0\u00a0MB"),
        (listed(["a"]), "a"),
        (listed(["a", "b", "c"]), "a, b and c"),
        (listed(["a", "b", "c"], 2), "a, b and 1 more"),
    ],
)
def test_numbers_print_as_a_reader_expects(printed: str, expected: str) -> None:
    assert printed == expected


def test_the_command_can_be_pasted() -> None:
    arguments = ["/x/bin/sonoforge", "run", "--data", "a b;c", "--resume", "--folds", "3"]
    assert command_line(arguments) == "sonoforge run --data 'a b;c' --folds 3"
    assert command_line(["/x/runtime/cli/main.py", "run"]) == "sonoforge run"


# ---- charts


@pytest.mark.parametrize(
    ("low", "high"), [(0.62, 0.93), (0, 1), (-0.031, 0.05), (3, 3), (0, 0), (1e-9, 2e-9), (0, 4217)]
)
def test_ticks_enclose_the_range_and_are_few_and_even(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 8
    steps = np.diff(ticks)
    assert np.allclose(steps, steps[0])


def test_long_labels_are_broken_and_kept_whole() -> None:
    lines = wrapped("real images with an unbreakable" + "x" * 90, 140)
    assert max(map(len, lines)) <= 20
    assert "".join(lines).replace(" ", "") == "realimageswithanunbreakable" + "x" * 90


def test_the_mean_curve_bears_folds_of_different_length() -> None:
    assert column_means([[1.0, 2.0], [3.0]]) == [2.0, 2.0]
    assert len(column_means([[1.0] * EPOCHS])) == EPOCHS

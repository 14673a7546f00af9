"""A run's report prints what predictions.csv says, recomputes its proof, and fails where results disagree."""

from __future__ import annotations

import copy
import csv
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

from axe import WIDTHS, faults_at_any_width
from group_loops import group_sums, sign_flip_p, wilson_ends
from pages import Page, check_page, plain
from report_factory import Run, Written, make_run, write_reads, written
from sonoforge.runtime.errors import GateError
from sonoforge.training.crossval.evidence import check_reads, read_folds, read_plans
from sonoforge.training.data import datasets
from sonoforge.training.reports.blocks import class_colour
from sonoforge.training.reports.run import charts
from sonoforge.training.reports.run.page import write_report
from sonoforge.training.reports.run.sections import command_line
from sonoforge.training.reports.run.whole_run import read_run
from sonoforge.training.statistics.calibration import expected_calibration_error, reliability
from sonoforge.training.statistics.smallest_gain import describe_gain
from sonoforge.training.statistics.verdict import UNKNOWN
from sonoforge.training.statistics.wording import share

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return written(make_run(tmp_path_factory.mktemp("sealed") / "00001-run-invented", with_collapse=True))


@pytest.fixture(scope="module")
def thesis(tmp_path_factory: pytest.TempPathFactory) -> Written:
    arms = (("real", 0.6), ("gan", 0.95), ("duplicates", 0.6))
    return written(make_run(tmp_path_factory.mktemp("thesis") / "run", protocol="thesis", arms=arms, seeds=2))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """One arm, two classes."""
    folder = tmp_path_factory.mktemp("small") / "run"
    return written(make_run(folder, ("one", "two"), (16, 20), arms=(("real", 0.8),), folds=2))


def test_the_figures_of_each_collection_are_on_the_page(tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", arms=(("real", 0.8),), folds=2, collections=("Here", "There"))
    rows = {row[0]: row for row in written(made).page.table("real images (System 1): images of each")}
    _, labels, probabilities, groups = csv_arm(tmp_path / "run", "real")
    own = groups % 2 == 1
    assert rows["collection There"][2] == str(len(np.unique(groups[own])))
    right = 100 * np.mean(probabilities.argmax(1) == labels, where=own)
    assert rows["collection There"][3].startswith(f"{right:.1f} %")
    pair = own & (labels > 0)
    scores = probabilities[pair, 2] / probabilities[pair, 1:].sum(axis=1)
    area = metrics.roc_auc_score(labels[pair] == 2, scores)
    assert f"malignant against benign {area:.3f}" in rows["collection There"][4]


def csv_arm(folder: Path, arm: str, seed: int = 0) -> tuple[list[str], Any, Any, Any]:
    """Classes, labels, probabilities and groups of one arm, read without our reader."""
    rows = [r for r in csv.DictReader((folder / "predictions.csv").open()) if (r["arm"], r["seed"]) == (arm, str(seed))]
    classes = [name[2:] for name in rows[0] if name.startswith("p_")]
    labels = np.array([classes.index(r["label"]) for r in rows])
    probabilities = np.array([[float(r[f"p_{c}"]) for c in classes] for r in rows])
    return classes, labels, probabilities, np.array([int(r["group"]) for r in rows])


def copied(run: Run, folder: Path) -> Run:
    """A run that a test may spoil."""
    shutil.copytree(run.folder, folder, dirs_exist_ok=True)
    return run._replace(folder=folder, results=copy.deepcopy(run.results))


def test_the_page_is_whole_accessible_and_loads_nothing(sealed: Written, thesis: Written, small: Written) -> None:
    for run, page in (sealed, thesis, small):
        check_page(page)
        assert (run.folder / "report.html").stat().st_size < 6_000_000
        targets = {attributes["href"][1:] for attributes in page.attributes("a")}
        assert {"data", "split", "results"} <= targets
    assert "GAN" not in small.page.text[: small.page.text.index("Glossary")] and "Generators:" not in small.page.text


@pytest.mark.slow
def test_it_is_folded_and_axe_finds_nothing_and_nothing_is_cut_at_any_width(browser: Browser, tmp_path: Path) -> None:
    classes, arms = ("normal", "benign", "malignant"), (("real", 1.0), ("gan", 0.7), ("duplicates", 0.8))
    run = written(make_run(tmp_path / "run", classes, (16, 20, 18), arms=arms, folds=2, with_collapse=True)).run
    report = run.folder / "report.html"
    with browser.new_context(viewport={"width": WIDTHS[0], "height": 900}, offline=True) as context:
        tab = context.new_page()
        tab.goto(report.as_uri())
        assert tab.evaluate("document.documentElement.scrollHeight") < 3000
    assert faults_at_any_width(browser, report) == {}


NAMED = tuple(
    f"report/{name}"
    for name in ("paired-comparisons", "results-of-all-arms", "sensitivity-and-specificity-of-each-class")
)


def test_every_table_and_chart_is_a_file_too(sealed: Written) -> None:
    run, page = sealed
    links = [a["href"] for a in page.attributes("a") if "download" in a]
    made = {f"report/{path.name}" for path in (run.folder / "report").iterdir()}
    named = [path for path in links if path.startswith(NAMED)]
    assert set(links) == made and len(links) == len(made) + len(NAMED) * 2 == len(made) + len(named) / 2
    assert links[: len(NAMED) * 2] == [f"{name}.{kind}" for name in NAMED for kind in ("csv", "tex")]
    first, verdict, parts = (
        page.text.index(text) for text in ("For a paper", "Do generated images help?", "For clinicians")
    )
    assert verdict < first < parts
    assert len(made) == 2 * (len(page.tables) + len(page.attributes("svg")))
    for name in made:
        path = run.folder / name
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag.endswith("svg")
            assert "var(" not in path.read_text(encoding="utf-8")
        elif path.suffix == ".png":
            assert min(Image.open(path).size) > 100
        elif path.suffix == ".tex":
            body = path.read_text(encoding="utf-8").partition("toprule")[2].partition("\\bottomrule")[0]
            rows = [row for row in body.splitlines() if row.endswith(r"\\")]
            assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1


def test_the_paired_comparison_is_a_table_to_paste(sealed: Written) -> None:
    run, page = sealed
    source = (run.folder / "report" / "paired-comparisons.tex").read_text(encoding="utf-8")
    opened = re.findall(r"\\begin\{(\w+)\}", source)
    assert opened == ["table", "adjustbox", "tabular"] == re.findall(r"\\end\{(\w+)\}", source)[::-1]
    assert source.count("{") == source.count("}")
    body = source.partition("\\midrule\n")[2].partition("\\bottomrule")[0]
    plain = body.replace("$-$", "\N{MINUS SIGN}").replace("~", " ").replace("$<$", "<")
    rows = [row.removesuffix(r" \\").split(" & ") for row in plain.splitlines()]
    assert rows == page.table("Differences, in percentage points for accuracy")[1:]


def test_the_first_screen_says_which_gain_so_many_tested_groups_can_show(sealed: Written) -> None:
    figures = sealed.run.results["arms"]["real"]
    assert plain(describe_gain(figures["groups"], figures["images"])["says"]) in sealed.page.text


def test_a_table_of_intervals_is_numbers_in_its_csv_file(sealed: Written) -> None:
    run, page = sealed
    with (run.folder / "report" / "results-of-all-arms.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row, (title, accuracy, *_) in zip(rows, page.table("Results of all arms")[1:], strict=True):
        low, high = (float(row[f"accuracy, {end}"]) for end in ("low", "high"))
        assert row["arm"] == title
        assert f"{row['accuracy (%)']} % [{low:.1f}, {high:.1f}]" == accuracy


def test_a_class_keeps_its_colour_wherever_it_stands() -> None:
    usual, sorted_ones = ("normal", "benign", "malignant"), ("benign", "malignant", "normal")
    for name in usual:
        assert class_colour(usual, usual.index(name)) == class_colour(sorted_ones, sorted_ones.index(name))
    mixed = ("cyst", "malignant", "scar")
    assert len({class_colour(mixed, number) for number in range(3)}) == 3


def test_the_area_under_a_drawn_roc_curve_is_that_of_the_results(sealed: Written) -> None:
    run = read_run(*sealed.run)
    label = run.classes.index("malignant")
    chart = charts.roc_curves({own.arm: own for own in run.parts}, "malignant", label)
    drawn = {line.get_label(): line.get_data() for line in chart.figure.axes[0].lines}
    for arm, figures in run.arms.items():
        false, true = (np.asarray(values, np.float64) for values in drawn[arm])
        area = float(((true[1:] + true[:-1]) / 2 * np.diff(false)).sum())
        assert area == pytest.approx(figures["one_against_rest"]["malignant"]["auc"]["value"], abs=1e-9)


def test_many_classes_keep_the_layout(tmp_path: Path) -> None:
    classes = [f"class {i} with a long name" for i in range(11)]
    run, page = written(make_run(tmp_path, classes, [4] * 9 + [3, 3], (("gan", 0.7),), folds=2))
    assert {"class": "confusion many"} in page.attributes("table")
    matrix = page.table(run.results["arms"]["gan"]["title"])
    assert matrix[0][1:] == [str(i + 1) for i in range(11)]
    assert [row[0] for row in matrix[1:]] == [f"{i + 1} {name}" for i, name in enumerate(classes)]


def test_the_tables_equal_a_second_computation_from_predictions_csv(sealed: Written) -> None:
    run, page = sealed
    results = page.table("Results of all arms")[1:]
    by_class = page.table("Sensitivity and specificity")
    calibration, right = page.table("Calibration before")[1:], []
    for n, arm in enumerate(("real", "gan")):
        classes, labels, probabilities, groups = csv_arm(run.folder, arm)
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
            row = [row for row in by_class if row[0] == name][n]
            for column, of, hit in ((2, labels == i, answers == i), (3, labels != i, answers != i)):
                low, high = wilson_ends(hit[of].tolist(), groups[of].tolist())
                cell = f"{100 * hit[of].mean():.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
                assert row[column] == cell
        matrix = page.table(f"{run.results['arms'][arm]['title']}, 96 images")
        counts = metrics.confusion_matrix(labels, answers)
        shares = counts / counts.sum(axis=1, keepdims=True)
        cells = [[f"{c}{100 * s:.1f} %" for c, s in zip(*row, strict=True)] for row in zip(counts, shares, strict=True)]
        assert [row[1:] for row in matrix[1:]] == cells
        truth = np.eye(len(classes))[labels]
        assert calibration[n][3] == f"{((probabilities - truth) ** 2).sum(axis=1).mean():.3f}"
        bins = reliability(labels, probabilities, groups)
        ece = sum(b.images * abs(b.accuracy["value"] - b.confidence) for b in bins) / len(labels)
        assert ece == pytest.approx(expected_calibration_error(labels, probabilities))
        assert calibration[n][1] == f"{ece:.3f}" and sum(b.images for b in bins) == len(labels)
        right.append(int((answers == labels).sum()))
    (said,) = re.findall(r"Of \d+ test images, (\d+) were answered rightly [^,]*, and (\d+) on", page.text)
    assert [int(number) for number in said] == right


def test_intervals_and_paired_comparison_are_those_of_the_evidence(sealed: Written) -> None:
    run, page = sealed
    for row, arm in zip(page.table("Results of all arms")[1:], ("real", "gan"), strict=True):
        for cell, name, scale, digits in (
            (row[1], "accuracy", 100, 1),
            (row[2], "balanced_accuracy", 100, 1),
            (row[3], "macro_f1", 1, 3),
            (row[4], "macro_auc", 1, 3),
        ):
            figure = run.results["arms"][arm][name]
            low, high = (f"{scale * figure[end]:.{digits}f}" for end in ("low", "high"))
            assert cell.endswith(f"[{low}, {high}]")
    (row,) = page.table("Differences, in percentage points")[1:]
    comparison = run.results["comparisons"][0]
    change = comparison["accuracy_difference"]
    figures = [f"{100 * change[k]:+.1f}".replace("-", "−") for k in ("value", "low", "high")]
    assert row[1] == f"{figures[0]} [{figures[1]}, {figures[2]}]"
    _, labels, first, groups = csv_arm(run.folder, "real")
    second = csv_arm(run.folder, "gan")[2]
    right = [p.argmax(axis=1) == labels for p in (first, second)]
    only = [int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())]
    assert [int(cell) for cell in row[3:5]] == only
    assert row[5] == f"{sign_flip_p(group_sums(*right, groups.tolist())):.3f}"
    assert row[6] == f"{100 * comparison['minimum_detectable_difference']:.1f}"


def test_prediction_sets_that_hold_less_than_promised_are_told_first(small: Written, tmp_path: Path) -> None:
    run = copied(small.run, tmp_path)
    path = run.folder / "bundle" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    intervals = {"first": (0.8, 0.7, 0.87), "second": (0.8, 0.5, 0.95), "third": (0.95, 0.9, 0.98)}
    held = {name: dict(zip(("value", "low", "high"), own, strict=True)) for name, own in intervals.items()}
    manifest["evaluation"]["decision"] = {"Somewhere": {"coverage": held}}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    text = written(run).page.text
    head = text[: text.index("Images by class")]
    assert "80.0% [70.0%, 87.0%] of the first images of Somewhere" in head
    assert "second images" not in head and "third images" not in head
    assert "promised" not in small.page.text[: small.page.text.index("Images by class")]


def test_figures_of_weights_that_may_have_seen_the_images_are_doubted_first_and_not_called_sealed(
    small: Written, tmp_path: Path
) -> None:
    run = copied(small.run, tmp_path)
    run.results["weights"] = f"tuned.safetensors (sha256 0, {UNKNOWN})"
    said = " ".join(written(run).page.text.split())
    assert said.index("may have seen the test images") < min(said.index("judged once"), said.index("Accuracy"))
    assert "had seen neither" not in said and "protocol sealed" not in said.lower() and "Protocol grouped" in said


def test_data_split_parity_and_time_are_printed_as_given(sealed: Written) -> None:
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
    parity = page.table("Does the exported file give")
    assert (
        parity[1] == ["logits", "2.4e−06 (allowed 1.0e−04)", "0"] and ["equal labels", "32 of 32", "all of 6"] in parity
    )
    assert page.table("Files of the bundle")[1] == ["model.onnx", "8.9 MB", "ab" * 32]
    times = dict(page.table("Time taken")[1:4])
    assert times == {"data": "0.4 s", "cross-validation": "3 min 05 s", "final model": "1 h 01 min"}
    assert "sonoforge run --data 'my scans'" in page.text and "--resume" not in page.text
    trainings = page.table("Training runs of the generators")[1:]
    assert [row[:5] for row in trainings] == [[c, "4", "17", "120", "32"] for c in ("normal", "malignant")]


def test_published_rows_are_called_claims_and_stand_beside_busi_alone(
    sealed: Written, small: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for page in (sealed.page, small.page):  # classes of BUSI's names, and others
        assert not any(caption.startswith("Accuracy, then sensitivity") for caption in page.tables)
        assert "Published" not in page.text
    run = copied(sealed.run, tmp_path)
    monkeypatch.setattr(datasets, "BUSI_FINGERPRINT", run.cache.fingerprint)
    page = written(run).page
    check_page(page)
    rows = page.table("Accuracy, then sensitivity")
    assert rows[0][6:] == ["normal", "benign", "malignant"]
    system1 = next(row for row in rows if row[0].startswith("System 1"))
    assert system1[3:] == ["93.4 %", "90.0 % [89.5, 90.5]", "98.7 %", "93 / 96", "89 / 95", "90 / 95"]
    assert "3 of these papers' rows contradict themselves" in page.text
    said = "Existing app: the paper states 87.5 %, but its confusion matrix (figure 12c of the thesis) has 130 right"
    assert f"{said} answers of 156" in page.text
    matrix = page.table("Existing app, claim of Addala 2023, 156 images")
    printed = ([14, 2, 9], [1, 77, 12], [0, 2, 39])
    shares = [[f"{count}{100 * count / sum(row):.1f} %" for count in row] for row in printed]
    assert [row[1:] for row in matrix[1:]] == shares, "each count above its share"
    assert "claims of the papers" in page.text and "Published models trained on BUSI alone" in page.text
    ours = run.results["arms"]["real"]
    cells = [f"{100 * ours[k][c]['value']:.0f}" for c in rows[0][6:] for k in ("sensitivity", "specificity")]
    assert [cell for row in rows if row[0] == ours["title"] for part in row[6:] for cell in part.split(" / ")] == cells


def test_what_cannot_be_computed_is_said_with_its_reason(sealed: Written, tmp_path: Path) -> None:
    run = copied(sealed.run, tmp_path)
    (row,) = run.results["comparisons"]
    row["sign_flip_test"] |= {"first_only": 0, "second_only": 0}
    row["minimum_detectable_difference"] = float("nan")
    page = written(run).page
    assert page.table("Differences, in percentage points")[1][6] == "cannot be computed"
    assert "can detect cannot be computed: both arms classified exactly the same images correctly" in page.text
    assert "nan" not in page.text.lower().split()


def test_settings_chosen_inside_the_folds_are_shown_and_their_trainings_checked(small: Written, tmp_path: Path) -> None:
    run = copied(small.run, tmp_path)
    rates = [{"learning_rate": rate} for rate in (0.0002, 0.001, 0.005)]
    spent = {"cross_entropy": [1.0] * 3, "seconds": 3.0}
    folds = [
        {"settings": rates[1], "accuracy": [0.6, 0.9, 0.5], **spent},
        {"settings": rates[0], "accuracy": [0.8, 0.7, 0.5], **spent},
    ]
    run.results["choice"] = {
        "grid": {"learning_rate": [0.0002, 0.001, 0.005]}, "candidates": {"real": rates},
        "inner_folds": 2, "trainings": 18, "folds": {"real": [folds]}, "seconds": 9.0,
        "final": {**folds[0], "settings": rates[2]},
    }  # fmt: skip
    plan = read_plans(run.folder)[0]
    train = plan.train(1)
    inner = run.folder / "inner" / "real-seed0-fold01-inner0-candidate2.json"
    half = [plan.hashes[i] for i in train[::2]]
    write_reads(inner, plan, 0, {"classifier": half}, inner_of=1)
    page = written(run).page
    check_page(page)
    assert page.table("How often each value was chosen")[1:] == [
        ["real images (System 1)", "learning rate 0.0002", "1", "70.0 %"],
        ["real images (System 1)", "learning rate 0.001", "1", "80.0 %"],
        ["real images (System 1)", "learning rate 0.005", "0", "50.0 %"],
    ]
    assert "18 trainings on 2 inner folds of each training fold" in page.text
    assert "The final model has learning rate 0.005, chosen in the same way on all images." in page.text
    assert ["inner classifiers", "1", str(len(half)), "0", "0"] in page.table("Images that training runs read")
    write_reads(inner, plan, 0, {"classifier": [*half, plan.hashes[plan.test(1)[0]]]}, inner_of=1)
    with pytest.raises(GateError, match="test images that inner classifier training runs read"):
        write_report(read_run(*run))


def test_the_command_can_be_pasted() -> None:
    arguments = ["/x/bin/sonoforge", "run", "--data", "a b;c", "--resume", "--folds", "3"]
    assert command_line(arguments) == "sonoforge run --data 'a b;c' --folds 3"
    assert command_line(["/x/runtime/cli/main.py", "run"]) == "sonoforge run"


def test_sealed_proof_is_counted_again_from_the_folds(sealed: Written) -> None:
    rows = sealed.page.table("Images that training runs read")[1:]
    # 4 folds of 2 arms read 72 of 96 images each; normal + malignant are 56, three quarters of them a fold.
    assert rows == [["classifiers", "8", str(8 * 72), "0", "0"], ["generators", "8", str(3 * 56), "0", "0"]]
    assert all(row[2] == "passed" for row in sealed.page.table("Checks made")[1:])
    assert "0 of 96 test images have a near-duplicate" in sealed.page.text


def test_thesis_says_what_leaks_and_is_no_failure(thesis: Written) -> None:
    run, page = thesis
    generators = page.table("Images that training runs read")[2]
    assert generators[0] == "generators" and generators[3] == str(2 * 56)  # all images of two classes, two seeds
    near_duplicates = sum(run.results["split"]["test_images_with_near_duplicate_in_training"])
    assert near_duplicates > 0 and f"{near_duplicates} of 96 test images have a near-duplicate" in page.text
    assert "the generators read 56 of the 96 test images" in page.text
    assert "no evidence of benefit" in page.text and "come out too good" in page.text
    placebo = page.table("Differences, in percentage points")[3]
    assert placebo[0].startswith("real + generated") and "placebo" in placebo[0]


def read_test_image(folds: dict[str, Any], plan: dict[str, Any]) -> None:
    folds["reads"]["classifier"].append(plan["hashes"][plan["fold_of"].index(0)])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (read_test_image, "test images that classifier training runs read"),
        (
            lambda fold, _: fold["reads"]["classifier"].__setitem__(0, "e" * 64),
            r"no image of the split has: found 1 \(real-seed0-fold00.json: eeeeeeeeeeee\)",
        ),
        (lambda _, plan: plan["hashes"].__setitem__(0, "e" * 64), "1 with other pixels"),
        (lambda _, plan: plan["fold_of"].__setitem__(0, 1 - plan["fold_of"][0]), "another split plan"),
    ],
)
def test_a_leak_or_another_split_fails_the_report(
    small: Written, tmp_path: Path, harm: Callable[[Any, Any], None], message: str
) -> None:
    run = copied(small.run, tmp_path)
    paths = run.folder / "folds" / "real-seed0-fold00.json", run.folder / "splits.json"
    fold, plan = (json.loads(path.read_text()) for path in paths)
    harm(fold, plan)
    for path, content in zip(paths, (fold, plan), strict=True):
        path.write_text(json.dumps(content))
    with pytest.raises(GateError, match=message):
        write_report(read_run(*run))
    if harm is read_test_image:
        page = Page((run.folder / "report.html").read_text(encoding="utf-8"))
        assert "Do not use these results" in page.text and "FAILED" in page.text


def test_results_that_predictions_csv_does_not_bear_out_fail_the_report(small: Written, tmp_path: Path) -> None:
    run = copied(small.run, tmp_path)
    confusion = run.results["arms"]["real"]["confusion"]
    confusion[0][0], confusion[0][1] = confusion[0][0] + 1, confusion[0][1] - 1
    with pytest.raises(GateError, match="macro-AUC recounted"):
        write_report(read_run(*run))


def test_possible_second_views_are_listed_with_the_split(small: Written, tmp_path: Path) -> None:
    run = copied(small.run, tmp_path)
    pair = {"file": "normal/one.png", "other": "normal/two.png", "correlation": 0.48}
    run.results["split"]["second_opinion"]["possible_second_views"] = [pair]
    page = written(run).page
    assert "1 pair that may be second views of one lesion was kept in one fold" in page.text
    assert "normal/one.png and normal/two.png (r = 0.48)" in page.text
    assert "second views" not in small.page.text


def test_a_group_member_in_training_is_found_where_contents_differ(sealed: Written, tmp_path: Path) -> None:
    run = sealed.run
    plans = read_plans(run.folder)
    plan = plans[0]
    groups = np.array(plan.groups)
    near_duplicates = np.flatnonzero(groups == np.flatnonzero(np.bincount(groups) == 2)[0])
    fold = plan.fold_of[near_duplicates[0]]
    stages = {"classifier": [plan.hashes[near_duplicates[0]]], "generated": ["0" * 64]}
    write_reads(tmp_path / "folds" / "real.json", plan, fold, stages)
    reads = check_reads(read_folds(tmp_path), plans)
    assert set(reads) == {"classifier"}
    assert reads["classifier"].same_content == {(0, near_duplicates[0])}
    assert reads["classifier"].same_group == {(0, i) for i in near_duplicates}


def test_names_from_files_are_escaped(tmp_path: Path) -> None:
    classes = ("<script>alert(1)<", '"onmouseover="alert(2)', "</title></style>&{{7*7}}")
    # A folder name cannot hold a slash, so nothing here is written to disk under the class's name.
    run = make_run(tmp_path, classes, (16, 16, 16), (("real", 0.8),), folds=2)
    (run.folder / "config.yaml").write_text("data: '</pre><script>alert(3)</script>'\n")
    run.results["data"] = "<img src=x onerror=alert(4)>"
    run.results["weights"] = "<b onclick=alert(5)>"
    run.audited["unreadable"] = {"x": "<svg/onload=alert(6)>: cannot be read"}
    page = written(run).page
    check_page(page)
    for words in (*classes, "alert(3)", "<img src=x onerror=alert(4)>", "<b onclick", "<svg/onload=alert(6)>"):
        assert words in page.text


def test_one_class_against_the_rest_is_that_of_predictions_csv(sealed: Written) -> None:
    run, page = sealed
    for row, arm in zip(page.table("malignant against the rest: area")[1:], ("real", "gan"), strict=True):
        classes, labels, probabilities, _ = csv_arm(run.folder, arm)
        positive, scores = labels == classes.index("malignant"), probabilities[:, classes.index("malignant")]
        assert row[1].startswith(f"{metrics.roc_auc_score(positive, scores):.3f} [")
        own = run.results["arms"][arm]["one_against_rest"]["malignant"]
        for cells, point in zip((row[2:4], row[4:6]), own["sensitivity_at"], strict=True):
            for cell, figure in zip(cells, (point["sensitivity"], point["specificity"]), strict=True):
                assert cell.startswith(f"{100 * figure['value']:.1f} % [{100 * figure['low']:.1f},")
    assert "never on the images that it is measured on" in page.text
    (row,) = page.table("Differences for malignant")[1:]
    difference = run.results["comparisons"][0]["one_against_rest"]["malignant"]
    assert row[1].startswith(f"{difference['auc']['value']:+.3f}".replace("-", "−"))
    assert row[2] == f"{difference['p_value']:.3f}"
    benefit = page.table("Net benefit for malignant")
    assert [own[0] for own in benefit[1:]] == ["2 %", "5 %", "10 %", "20 %", "30 %", "50 %"]
    prevalence = 32 / 96
    assert benefit[3][1] == f"{100 * (prevalence - (1 - prevalence) / 9):.1f}"  # acting on all from 10 % on
    labels_of_charts = [attributes["aria-label"] for attributes in page.attributes("svg")]
    assert any(label.startswith("Decision curves of malignant") for label in labels_of_charts)
    assert any(label.startswith("Paired differences in the sensitivity to malignant") for label in labels_of_charts)


def test_scans_that_no_arm_ever_answers_rightly_are_shown(sealed: Written) -> None:
    run, page = sealed
    wrong = np.ones(96, bool)
    for arm in ("real", "gan"):
        _, labels, probabilities, groups = csv_arm(run.folder, arm)
        wrong &= probabilities.argmax(axis=1) != labels
    found = [group for group in np.unique(groups) if wrong[groups == group].all()]
    never = run.results["never_right"]
    assert never["groups"] == len(found) > 0 and never["images"] == np.isin(groups, found).sum()
    assert f"{never['images']} images of 96, in {len(found)} groups of" in page.text
    for cluster in never["worst"]:
        for file in cluster["files"]:
            assert any(attributes["alt"] == file.rsplit("/", 1)[-1] for attributes in page.attributes("img"))


def test_a_single_split_with_curves_of_its_test_images_says_what_was_tested_and_looked_at(
    small: Written, tmp_path: Path
) -> None:
    assert "there is no test curve" in small.page.text and "Training and test by epoch" not in small.page.text
    run = make_run(tmp_path, arms=(("real", 0.75),), protocol="single", folds=1)
    figures = run.results["arms"]["real"]
    for row in figures["learning_curves"][0]:
        row |= {"test_accuracy": 0.5 + 0.1 * row["epoch"], "test_loss": 1 / row["epoch"]}
    page = written(run).page
    assert "Training and test by epoch" in page.text and "they have chosen no epoch" in page.text
    labels = [attributes.get("aria-label", "") for attributes in page.attributes("svg")]
    (drawn,) = [label for label in labels if label.startswith("accuracy by epoch")]
    assert "test 0.800 at the end" in drawn
    split = run.results["split"]
    tested, images = split["fold_sizes"][0], split["images"]
    near_duplicates = split["test_images_with_near_duplicate_in_training"][0]
    assert (images, tested) == (96, 20)
    assert f"one plain split, as published: {tested} of {images} images are tested, the others never" in page.text
    assert f"{near_duplicates} of {tested} test images have a near-duplicate" in page.text
    assert page.table("Test images of each fold by class")[1][-2] == str(tested)
    mean = page.table("Spread over folds")[1][1]
    assert mean == share(figures["accuracy"]["value"]).replace("\xa0", " ")  # of one fold, without a deviation


def test_the_thesiss_figures_have_their_counterparts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures 12 (matrices), 13 (the epochs of all folds in a row) and 14 (generated images as they were trained)."""
    run = make_run(tmp_path, protocol="thesis")
    monkeypatch.setattr(datasets, "BUSI_FINGERPRINT", run.cache.fingerprint)
    for row in (row for fold in run.results["arms"]["real"]["learning_curves"] for row in fold):
        row |= {"test_accuracy": 0.5 + 0.1 * row["epoch"], "test_loss": 1 / row["epoch"]}
    drawn = Image.fromarray(np.full((200, 300), 90, np.uint8))
    for name in ("normal", "malignant"):
        drawn.save(tmp_path / "gan" / "seed0-fold00" / name / "samples-over-time.png")
    path = write_report(read_run(*run))
    page = Page(path.read_text(encoding="utf-8"))
    check_page(page)
    assert "Counterpart of figure 12" in page.text and "Counterpart of figure 13" in page.text
    charts = path.read_text(encoding="utf-8").split("<svg")
    (watched,) = [chart for chart in charts if 'aria-label="accuracy by epoch' in chart]
    ticks = [int(number) for number in re.findall(r">(\d+)</text>", watched)]
    assert "one fold after the other" in watched and 10 <= max(ticks) <= 12, "four folds of three epochs"
    pictured = {attributes["alt"] for attributes in page.attributes("img")}
    assert {f"Generated images of class {name} over time" for name in ("normal", "malignant")} <= pictured

"""A run's report recomputes its proof from the run folder, fails where results disagree, and trusts no name."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pages import Page, check_page
from report_factory import Run, Written, make_run, write_reads, written
from sonoforge.runtime.errors import GateError
from sonoforge.training.classifier.fold_result import StageReads
from sonoforge.training.pages.run.evidence import check_reads, read_plans
from sonoforge.training.pages.run.page import write_report


def copied(run: Run, folder: Path) -> Run:
    """A run that a test may spoil."""
    shutil.copytree(run.folder, folder, dirs_exist_ok=True)
    return run._replace(folder=folder, results=copy.deepcopy(run.results))


def test_collapsed_generators_are_reported_beside_the_answer(sealed: Written, thesis: Written) -> None:
    assert "1 of 8 training runs ended collapsed" in sealed.page.text
    assert [row[-2:] for row in sealed.page.table("Training runs of the generators")[1:]] == [["1", "0"], ["2", "1"]]
    assert "ended collapsed" not in thesis.page.text


def test_sealed_proof_is_counted_again_from_the_folds(sealed: Written) -> None:
    rows = sealed.page.table("What the training runs read")[1:]
    # 4 folds of 2 arms read 72 of 96 images each; normal + malignant are 56, three quarters of them a fold.
    assert rows == [["classifiers", "8", str(8 * 72), "0", "0"], ["generators", "8", str(3 * 56), "0", "0"]]
    assert all(row[2] == "passed" for row in sealed.page.table("Checks made")[1:])
    assert "0 of 96 test images have a near-duplicate" in sealed.page.text


def test_thesis_says_what_leaks_and_is_no_failure(thesis: Written) -> None:
    run, page = thesis
    generators = page.table("What the training runs read")[2]
    assert generators[0] == "generators" and generators[3] == str(2 * 56)  # all images of two classes, two seeds
    twins = sum(run.results["split"]["test_images_with_a_twin_in_training"])
    assert twins > 0 and f"{twins} of 96 test images have a near-duplicate" in page.text
    assert "no evidence of benefit" in page.text and "come out too good" in page.text
    placebo = page.table("Differences, in percentage points")[3]
    assert placebo[0].startswith("real + generated") and "placebo" in placebo[0]


def test_a_training_that_read_a_test_image_fails_the_report(small: Written, tmp_path: Path) -> None:
    run = copied(small.run, tmp_path)
    path = run.folder / "folds" / "real-seed0-fold00.json"
    fold, plan = json.loads(path.read_text()), json.loads((run.folder / "splits.json").read_text())
    fold["reads"]["classifier"].append(plan["hashes"][plan["fold_of"].index(0)])
    path.write_text(json.dumps(fold))
    with pytest.raises(GateError, match="test images that a classifier read"):
        write_report(*run)
    page = Page((run.folder / "report.html").read_text(encoding="utf-8"))
    assert "Do not use these results" in page.text and "FAILED" in page.text


def test_a_group_member_in_training_is_found_where_contents_differ(sealed: Written, tmp_path: Path) -> None:
    run = sealed.run
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


def test_results_that_predictions_csv_does_not_bear_out_fail_the_report(small: Written, tmp_path: Path) -> None:
    run = copied(small.run, tmp_path)
    confusion = run.results["arms"]["real"]["confusion"]
    confusion[0][0], confusion[0][1] = confusion[0][0] + 1, confusion[0][1] - 1
    with pytest.raises(GateError, match="confusion matrix recounted"):
        write_report(*run)


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

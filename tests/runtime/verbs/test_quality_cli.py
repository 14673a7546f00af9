"""``sonoforge quality`` on generated scans and a bundle whose embedding numpy can recompute."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bundle_factory as factory
from program import rows_of, sonoforge
from sonoforge.runtime import Classifier
from sonoforge.runtime.images import quality_metrics, scan_metrics


def quality(bundle: Path, *arguments: object) -> tuple[int, dict[str, Any], str]:
    """Return the exit code, the answer of ``--json`` and, beside the errors, the answer as text."""
    done = sonoforge("quality", *arguments, "--bundle", bundle, "--json")
    return done.code, done.json, done.said + done.err


def test_each_file_is_measured_and_flagged_as_classify_does(bundle: Path, tmp_path: Path) -> None:
    folder = factory.write_scans(tmp_path / "scans")
    Image.fromarray(np.full((90, 120), 3, np.uint8)).save(folder / "black.png")
    code, answer, text = quality(bundle, folder)
    assert code == 0
    assert list(answer) == ["results", "model", "summary", "reference", "notice"]
    classifier = Classifier(bundle)
    for result in answer["results"]:
        expected = classifier.classify(result["file"]).to_dict()
        closer = dataclasses.asdict(scan_metrics.assess_scan(Image.open(result["file"]), {}))
        found = {"file": result["file"], "ok": True, "remarks": [], "quality": expected["quality"], "scan": closer}
        assert result == {**found, "marks": expected["marks"]["summary"], "copy_of": None, "seems_copy_of": None}
    assert answer["model"] == classifier.model
    flags = answer["results"][-1]["quality"]["flags"]
    assert "brightness_low" in flags and "black_high" in flags
    assert answer["summary"]["quality_flagged"] == 1
    assert answer["summary"]["flags"] == dict.fromkeys(sorted(flags), 1)
    assert answer["reference"] == {"images": 48, "bands": {}}
    assert "no reference for edge_sharpness, speckle_snr" in text
    header, *rows = text.splitlines()
    assert header.split()[0] == "file"
    assert "too dark; large areas are black" in rows[3]
    assert "4 of 4 files measured, 1 with a fault.\nResearch use, not a medical device." in text


def test_a_scan_out_of_the_bands_is_flagged_and_shown_first(bundle: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(bundle, own)
    bands = {"coverage": {"low": 0.9, "high": 1.0}, "blockiness": {"low": 1.0, "high": 9.0}}
    factory.edit_manifest(own, lambda manifest: manifest["quality"].update(scan={"count": 7, "bands": bands}))
    folder = factory.write_scans(tmp_path / "scans", range(2))
    names = sorted(file.name for file in folder.iterdir())
    covered = np.array(Image.open(folder / names[0]).convert("L"))
    mask = np.zeros_like(covered)
    mask[30:60, 40:80] = 255
    Image.fromarray(mask).save(folder / names[0].replace(".png", "_mask.png"))
    covered[:, : covered.shape[1] // 2] = 0
    Image.fromarray(covered).save(folder / "z<b>.png")
    shutil.copy(folder / names[1], folder / "copy.png")
    page, table = tmp_path / "page.html", tmp_path / "table.csv"
    code, answer, text = quality(own, folder, "--html", page, "--csv", table)
    assert code == 0
    assert answer["reference"] == {"images": 7, "bands": {"coverage": [0.9, 1.0], "blockiness": [1.0, 9.0]}}
    found = {Path(result["file"]).name: result for result in answer["results"]}
    worst = found["z<b>.png"]["scan"]
    assert worst["flags"] == ["coverage_low"]
    assert worst["advice"] == [quality_metrics.SCAN["coverage"].advice]
    assert worst["severity"] == pytest.approx((0.9 - worst["metrics"]["coverage"]) / 0.1)
    expected = {"gcnr": scan_metrics.gcnr(np.asarray(Image.open(folder / names[0]).convert("L")), mask > 0)}
    assert found[names[0]]["scan"]["lesion"] == expected
    assert found[names[1]]["scan"]["lesion"] is None
    assert found["copy.png"]["copy_of"] == str(folder / names[1])
    assert found[names[1]]["copy_of"] is None
    assert answer["summary"]["flags"]["coverage_low"] == 1
    assert "cover low" in next(line for line in text.splitlines() if "z<b>.png" in line)
    html = page.read_text(encoding="utf-8")
    assert "<b>" not in html and "<script" not in html and "http" not in html.replace("http-equiv", "")
    assert html.index("z&lt;b&gt;.png") < min(html.index(name) for name in names)
    assert html.count("data:image/jpeg;base64,") == 4
    rows = {Path(row["file"]).name: row for row in rows_of(table)}
    assert rows["z<b>.png"]["scan_flags"] == "coverage_low"
    assert float(rows["z<b>.png"]["coverage"]) == worst["metrics"]["coverage"]
    assert (rows[names[1]]["gcnr"], float(rows[names[0]]["gcnr"])) == ("", expected["gcnr"])


def test_what_was_measured_on_ultrasound_alone_is_not_said_of_other_images(bundle: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    factory.edit_manifest(other, lambda manifest: manifest["trust"]["checks"].update(kind="other"))
    folder = factory.write_scans(tmp_path / "scans", range(1))
    Image.fromarray(np.pad(np.full((40, 40), 255, np.uint8), ((30, 20), (40, 40)))).save(folder / "0_mask.png")
    (of_ultrasound,), (of_other,) = (quality(one, folder)[1]["results"] for one in (bundle, other))
    assert of_ultrasound["scan"]["lesion"] and of_ultrasound["scan"]["metrics"]["speckle_snr"] > 0
    metrics = {**of_ultrasound["scan"]["metrics"], "speckle_snr": None}
    assert of_other == {**of_ultrasound, "scan": {**of_ultrasound["scan"], "metrics": metrics, "lesion": None}}


def test_a_bad_file_never_stops_the_batch(bundle: Path, tmp_path: Path) -> None:
    folder = factory.write_scans(tmp_path / "scans", range(2))
    (folder / "bad, or worse.png").write_bytes(b"junk")
    for name in ("a.txt", "b.txt", "c.mp4"):
        (folder / name).write_bytes(b"junk")
    assert "3 files skipped: 2 text, 1 film" in sonoforge("quality", folder, "--bundle", bundle).err
    target = tmp_path / "new" / "quality.csv"
    code, answer, text = quality(bundle, tmp_path / "absent.png", folder, "--csv", target, "--quiet")
    outcome = [result["error"]["code"] if not result["ok"] else "ok" for result in answer["results"]]
    assert code == 2 and outcome == ["not_found", "ok", "ok", "not_an_image"] and text.count("error (") == 2
    summary = answer["summary"]
    assert [summary[name] for name in ("files", "ok", "failed")] == [4, 2, 2]
    assert summary["skipped"] == {"film": 1, "text": 2}
    for row, result in zip(rows_of(target), answer["results"], strict=True):
        assert (row["file"], row["ok"]) == (result["file"], str(result["ok"]).lower())
        if result["ok"]:
            for name in quality_metrics.METRICS:
                assert float(row[name]) == result["quality"][name]
            assert [flag for flag in row["quality_flags"].split("|") if flag] == result["quality"]["flags"]
        else:
            assert (row["error_code"], row["sharpness"]) == (result["error"]["code"], "")


def test_a_page_of_files_that_cannot_be_read_says_so(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"junk")
    assert quality(bundle, tmp_path, "--html", tmp_path / "page.html")[0] == 2
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "None could be read" in page and "worst come first" not in page and "<table" not in page

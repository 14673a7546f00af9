"""``data audit`` and ``data list``: the numbers, the page, the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from program import sonoforge, succeed
from scans import draw_scan, save, write_set
from sonoforge.runtime.cli.answer import SCREEN
from sonoforge.training.data.audit import audit
from sonoforge.training.data.cache import ImageCache, open_cache
from sonoforge.training.data.datasets import read_dataset


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_set(tmp_path_factory.mktemp("audit") / "set <b>", {"a": 5, "b": 4})
    save(root / "a" / "scan (1)_mask.png", draw_scan(1))
    save(root / "a" / "scan (1)_mask_1.png", draw_scan(1))
    save(root / "a" / "copy.png", (draw_scan(1) * 0.8 + 20).astype(np.uint8))  # of a/scan (2)
    save(root / "a" / "copy2.png", draw_scan(1)[:, ::-1])
    save(root / "b" / "equal.png", np.repeat(draw_scan(0)[:, :, None], 3, axis=2))  # of a/scan (1)
    save(root / "b" / "colour.png", np.stack([draw_scan(s)[:96] for s in (60, 61, 62)], axis=2))
    (root / "b" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    return root


@pytest.fixture(scope="module")
def cache(root: Path) -> ImageCache:
    return open_cache(read_dataset(root), 64, root.parent / "cache")


def test_audit_counts_what_was_put_there(cache: ImageCache) -> None:
    result = audit(cache)
    assert json.loads(json.dumps(result)) == result
    assert (result["images"], result["masks"]) == (13, 2)
    assert result["classes"]["a"] == {"images": 7, "masks": 2, "images_with_several_masks": 1, "groups": 5}
    assert result["classes"]["b"] == {"images": 6, "masks": 0, "images_with_several_masks": 0, "groups": 6}
    assert result["sizes"] == {"smallest": [128, 96], "median": [128, 128], "largest": [128, 128], "different": 2}
    assert result["modes"] == {"L": 11, "RGB": 1, "RGB grey": 1}
    assert list(result["unreadable"]) == ["b/broken.png"]
    assert result["given_groups"] is None
    duplicates = {key: value for key, value in result["duplicates"].items() if key != "threshold"}
    assert duplicates == {
        "groups": 10,
        "clusters": 2,
        "images_in_clusters": 5,
        "largest_cluster": 3,
        "mixed_label_clusters": 1,
        "same_pixels": 1,
    }
    mixed, alike = result["clusters"]
    assert mixed["files"] == ["a/scan (1).png", "b/equal.png"]
    assert mixed["labels"] == ["a", "b"]
    assert mixed["mixed"]
    assert mixed["same_pixels"]
    assert sorted(alike["files"]) == ["a/copy.png", "a/copy2.png", "a/scan (2).png"]
    assert not alike["mixed"]
    assert sorted(pair["mirrored"] for pair in alike["pairs"]) == [False, True]  # the third pair is joined by these two
    assert result["against"] is None


def test_images_that_are_in_two_collections_are_named(root: Path, tmp_path: Path) -> None:
    other = write_set(tmp_path / "other", {"c": 3, "d": 2}, first_seed=90)
    save(other / "c" / "zoomed.png", draw_scan(2)[20:110, 15:105])  # of a/scan (3)
    done = succeed("data", "audit", "--data", root, "--against", other, "--set", f"cache.folder={tmp_path / 'cache'}")
    pairs = done.json["against"]["pairs"]
    assert [(pair["first"], pair["second"]) for pair in pairs] == [("a/scan (3).png", "c/zoomed.png")]
    assert pairs[0]["scale"] == pytest.approx(128 / 90, abs=0.03)
    assert "1 pair of one scan with other" in done.said and done.widest <= SCREEN


def test_the_command_prints_json_alone_on_stdout_and_names_the_next(root: Path, tmp_path: Path) -> None:
    page = tmp_path / "new" / "audit.html"
    done = succeed("data", "audit", "--data", root, "--html", page, "--set", f"cache.folder={tmp_path / 'cache'}")
    assert done.json["images"] == 13
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert f"next: sonoforge crossval --data '{root}'" in done.err
    assert "with mixed labels" in done.said.replace("\n", " ")


def test_data_list_finds_a_set_and_corrects_a_name() -> None:
    found = sonoforge("data", "list", "--json").json["sets"]
    assert len(found) >= 8
    assert {"name", "content", "obtain", "licence", "citation", "reader"} == set(found[0])
    assert [s["name"] for s in sonoforge("data", "list", "--name", "busi", "--json").json["sets"]] == ["BUSI"]
    assert "did you mean BUSI" in sonoforge("data", "list", "--name", "BUSY").err

"""--anonymous: no file name in anything printed or written."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from program import sonoforge

NAME = "Zebedee"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / f"{NAME} study"
    folder.mkdir()
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 80)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{NAME}-{seed}.png")
    (folder / f"{NAME}-damaged.png").write_bytes((folder / f"{NAME}-0.png").read_bytes()[:500])
    return folder


def test_no_name_is_printed_or_written(study: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "out"
    out.mkdir()
    gone = study / f"{NAME}-gone.png"
    command = ("classify", study, gone, "--anonymous", "--json", "--csv", out / "a.csv", "--overlay", out / "pictures")
    with caplog.at_level(logging.DEBUG):
        done = sonoforge(*command)
    assert done.code == 2
    results = done.json["results"]
    assert [result["ok"] for result in results] == [True, True, False, False]
    assert results[2]["error"]["code"] == "truncated" and results[3]["error"]["code"] == "not_found"
    assert results[3]["file"] == "unread-4" and results[3]["error"]["message"].startswith("unread-4: no such file")
    assert NAME not in done.out + done.err + caplog.text
    assert (out / "a.csv").stat().st_size > 300
    assert len(list((out / "pictures").iterdir())) == 2
    for path in out.rglob("*"):
        assert NAME not in path.name and (path.is_dir() or NAME.encode() not in path.read_bytes())
    plain = sonoforge("classify", study, "--json").json["results"]
    assert [result["probabilities"] for result in results[:2]] == [
        result["probabilities"] for result in plain if result["ok"]
    ]
    (study / f"{NAME}-0.png").rename(tmp_path / "other.png")
    (again,) = sonoforge("classify", tmp_path / "other.png", "--anonymous", "--json").json["results"]
    assert again["file"] == results[0]["file"]  # named by contents

"""Files of answers come from other people's browsers: each is checked, and refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from readings import key_of, write_answers
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.reader_study.scores import read_readers

KEY = key_of(["real", "generated"], ("benign", "malignant"))


def write(path: Path, **change: Any) -> Path:
    write_answers(path, "seal", KEY.entries, lambda entry: {"kind": "real"})
    values = json.loads(path.read_text())
    for name, value in change.items():
        if name in values:
            values[name] = value
        else:
            values["answers"][0][name] = value
    path.write_text(json.dumps(values))
    return path


def test_answers_are_read_as_they_were_saved(tmp_path: Path) -> None:
    said = {"kind": "generated", "confidence": 4, "class": "benign", "mark": {"x": 0.25, "y": 1}, "seconds": 3.5}
    path = write_answers(tmp_path / "Dr. Who.json", "seal", KEY.entries, lambda one: said if one.number == 2 else None)
    (reader,) = read_readers([tmp_path], KEY, "seal")
    assert (reader.name, reader.file) == ("Dr. Who", str(path))
    assert list(reader.answers) == [2]
    answer = reader.answers[2]
    assert (answer.kind, answer.confidence, answer.class_name) == ("generated", 4, "benign")
    assert (answer.mark, answer.seconds) == ((0.25, 1.0), 3.5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "not a file of answers"),
        ({"commitment": "other"}, "belong to the key other"),
        ({"reader": " "}, "name is missing"),
        ({"answers": []}, "answers no image"),
        ({"answers": [{"image": 3, "kind": "real", "seconds": 1}]}, "there is no image 3"),
        ({"answers": [{"image": 1, "kind": "real", "seconds": 1}] * 2}, "an image is answered twice"),
        ({"answers": "none"}, "damaged answer"),
        ({"kind": "fake"}, "kind is 'fake'"),
        ({"confidence": 6}, "confidence is 6"),
        ({"class": "normal"}, "class is 'normal'"),
        ({"mark": {"x": 2, "y": 0}}, r"mark is at \(2.0, 0.0\)"),
        ({"mark": 3}, "damaged answer"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"seconds": -1}, "seconds is -1"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(SonoforgeError, match=said):
        read_readers([write(tmp_path / "a.json", **change)], KEY, "seal")


def test_one_file_for_each_reader(tmp_path: Path) -> None:
    write(tmp_path / "a.json")
    write(tmp_path / "b.json", reader="a")
    with pytest.raises(SonoforgeError, match="a second file of reader 'a' beside"):
        read_readers([tmp_path], KEY, "seal")
    with pytest.raises(SonoforgeError, match=r"contains no \.json file"):
        (tmp_path / "empty").mkdir()
        read_readers([tmp_path / "empty"], KEY, "seal")
    with pytest.raises(SonoforgeError, match=r"not a file of answers \(No such file"):
        read_readers([tmp_path / "absent.json"], KEY, "seal")

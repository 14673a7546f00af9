"""Read the answers that readers saved from a reading sheet's page."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.training.reader_study.sheet import KINDS, Key

FORMAT = "sonoforge reading answers 1"
CONFIDENCES = (1, 2, 3, 4, 5)
_LONGEST = 200  # characters of a reader's name or experience
_MOST_BYTES = 5_000_000  # of a file; one of 1000 images has some 150 kB


@dataclass(frozen=True)
class Answer:
    """A reader's answer to one image."""

    kind: str  # one of `KINDS`
    confidence: int | None  # 1 (a guess) to 5 (certain)
    class_name: str | None  # of the second question
    mark: tuple[float, float] | None  # telltale place: x to the right, y downwards, as shares of the side
    seconds: float  # for which the image was in view


@dataclass(frozen=True)
class Reader:
    """One reader's answers, by the number of the image; unanswered images are absent."""

    name: str
    experience: str
    file: str
    answers: Mapping[int, Answer]


def read_readers(paths: Sequence[Path], key: Key, seal: str) -> list[Reader]:
    """Read every reader's answers to the sheet with this key and commitment; a folder stands for its ``.json`` files.

    Raises:
        GateError: The answers are for another sheet, or the key was changed since.
        SonoforgeError: There is no file, a damaged one, or two from one reader.
    """
    readers: dict[str, Reader] = {}
    for given in paths:
        files = sorted(given.glob("*.json")) if given.is_dir() else [given]
        if not files:
            raise SonoforgeError(f"{given}: contains no .json file; give the answers that readers saved from the page")
        for path in files:
            reader = _read(path, key, seal)
            if reader.name in readers:
                raise SonoforgeError(
                    f"{path}: a second file of reader {reader.name!r} beside {readers[reader.name].file}; leave the "
                    "older one out, or correct the name in it"
                )
            readers[reader.name] = reader
    return list(readers.values())


def _read(path: Path, key: Key, seal: str) -> Reader:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too large")
        values = json.loads(path.read_bytes())
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
    except OSError as error:
        raise SonoforgeError(f"{path}: cannot be read ({error.strerror}); give a file of answers") from error
    except (ValueError, RecursionError) as error:
        raise SonoforgeError(f"{path}: not a file of answers ({error}); give the file that the page saved") from error
    if values.get("commitment") != seal:
        raise GateError(
            f"{path}: its answers belong to the key {str(values.get('commitment'))[:16]}..., but this key is "
            f"{seal[:16]}...: it is for another sheet, or the key changed after the page was made; give the sheet "
            "that was read"
        )
    try:
        given = [one for one in values["answers"] if one.get("kind") is not None]
        answers = {int(one["image"]): _answer(one, key) for one in given}
        if len(answers) != len(given):
            raise ValueError("an image is answered twice")
        beyond = [number for number in answers if not 1 <= number <= len(key.entries)]
        if beyond:
            raise ValueError(f"there is no image {beyond[0]}")
        texts = [values.get(field) for field in ("reader", "experience")]
        name, experience = (" ".join(one.split())[:_LONGEST] if isinstance(one, str) else "" for one in texts)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SonoforgeError(f"{path}: damaged answer ({error}); save the answers again") from error
    if not name:
        raise SonoforgeError(f"{path}: the reader's name is missing; save the answers again with a name")
    if not answers:
        raise SonoforgeError(f"{path}: answers no image; leave this file out")
    return Reader(name, experience, str(path), answers)


def _answer(values: dict[str, Any], key: Key) -> Answer:
    kind, confidence, class_name = values["kind"], values.get("confidence"), values.get("class")
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}")
    if confidence is not None and confidence not in CONFIDENCES:
        raise ValueError(f"confidence is {confidence!r}")
    if class_name is not None and class_name not in key.classes:
        raise ValueError(f"class is {class_name!r}")
    seconds = float(values["seconds"])
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"seconds is {seconds}")
    mark = values.get("mark")
    place = None if mark is None else (float(mark["x"]), float(mark["y"]))
    if place and not all(0 <= part <= 1 for part in place):
        raise ValueError(f"mark is at {place}")
    return Answer(kind, confidence, class_name, place, seconds)

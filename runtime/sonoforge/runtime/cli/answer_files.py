"""Write files that grow by a line with each answer, so that a killed command loses at most the line being written."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonoforge.runtime import atomic
from sonoforge.runtime.atomic import replacing
from sonoforge.runtime.bundle.classification import IMAGE_COLUMNS, LABEL_COLUMNS, TRUST_COLUMNS
from sonoforge.runtime.csv_tables import defused
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.runtime.images.inputs import Entry

if TYPE_CHECKING:
    from sonoforge.runtime.bundle.classification import ClassifierManifest
    from sonoforge.runtime.inference.classifier import Classifier


# With which image, which model and which settings an answer was made: one of others is not taken for this one's.
IDENTITY = ("bytes", "modified_ns", "model_sha256", "settings")


Origin = tuple[str, str]
"""What answers: the SHA-256 of its model file, and what else an answer depends on, see `settings_in_words`."""


def settings_in_words(classifier: Classifier) -> str:
    """Return an answer's settings in the form of a row, such as ``...; crop=none; abstain=no``."""
    settings = {
        "bundle": classifier.bundle.manifest_sha256[:16],
        "file": classifier.file,
        "crop": classifier.crop,
        "abstain": "yes" if classifier.abstains else "no",
        "prevalence": ":".join(f"{share:.4g}" for share in classifier.clinic.prevalence.values()),
        "sensitivity": f"{classifier.clinic.sensitivity:g}",
    }
    return "; ".join(f"{name}={value}" for name, value in settings.items())


def identity(file: str, origin: Origin) -> dict[str, str]:
    """Return the values of `IDENTITY`; size and time are empty if it is not a file."""
    try:
        about = os.stat(file)  # noqa: PTH116 - thousands of files
        found = str(about.st_size), str(about.st_mtime_ns)
    except (OSError, ValueError):
        found = "", ""
    return dict(zip(IDENTITY, (*found, *origin), strict=True))


class CsvFormat:
    """One row for each file, with its error if it could not be used."""

    def __init__(
        self, columns: Sequence[str], cells: Callable[[Entry], Mapping[str, str]], about: Sequence[str] = IDENTITY
    ) -> None:
        """Take an answer's columns, the function for their cells, and the columns of `line`'s other values."""
        self.columns = ["file", "ok", *columns, "error_code", "error_message", *about]
        self._cells = cells
        self.head = self._text(self.columns)

    def line(self, entry: Entry, about: Mapping[str, str]) -> str:
        """Return the row of one answer."""
        if entry["ok"]:
            row = dict(self._cells(entry))
        else:
            row = {f"error_{key}": defused(text) for key, text in entry["error"].items()}
        row |= {"file": defused(entry["file"]), "ok": str(entry["ok"]).lower(), **about}
        return self._text([row.get(name, "") for name in self.columns])

    def read(self, text: str, path: Path) -> Iterator[tuple[str, dict[str, str], str, bool]]:
        """Yield each row: file, values of `IDENTITY`, text, whether it failed; refuse other columns."""
        rows = csv.reader(io.StringIO(text, newline=""))
        found = next(rows, [])
        if found != self.columns:
            other = sorted(set(found) ^ set(self.columns)) or ["their order"]
            raise SonoforgeError(
                f"{path}: cannot be continued, its columns differ ({', '.join(other)}); choose another file"
            )
        for row in rows:
            own = dict(zip(self.columns, row, strict=True))
            yield own["file"], {name: own[name] for name in IDENTITY}, self._text(row), own["ok"] != "true"

    @staticmethod
    def whole(data: bytes) -> int:
        """Return the length of the whole rows: up to the last line end that is not inside a quoted cell."""
        end = data.rfind(b"\n") + 1
        while end and data.count(b'"', 0, end) % 2:
            end = data.rfind(b"\n", 0, end - 1) + 1
        return end

    @staticmethod
    def _text(row: Sequence[str]) -> str:
        buffer = io.StringIO(newline="")
        csv.writer(buffer, lineterminator="\r\n").writerow(row)  # only so is a cell with a carriage return quoted
        return buffer.getvalue().removesuffix("\r\n") + "\n"


class AnswerFile:
    """One growing file of answers.

    Attributes:
        answered: Names of the files answered in it, as the format writes them.
        failed: How many of these answers from earlier commands are failures.
    """

    def __init__(self, path: str, form: CsvFormat, origin: Origin, resume: bool) -> None:
        """Open the file, making missing folders, before anything is answered.

        With ``resume``, remove a half-written row from an existing file, and the rows of files that have changed since.
        """
        self.path, self._form, self._origin = Path(path), form, origin
        self.answered: set[str] = set()
        self.failed = 0
        if self.path.exists() and not self.path.is_file():  # reading a device might never end
            raise SonoforgeError(f"{self.path}: is not a file that rows can be added to; choose another path")
        with refusing(f"{self.path}: cannot be written", "choose another path or free this one", kinds=OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._opened_alone()
            try:
                self._continue(resume)
            except BaseException:
                self._stream.close()
                raise

    def _opened_alone(self) -> FileIO:
        """Open the file to append to it, unless another process has; two would write each row twice."""
        while True:
            stream = FileIO(self.path, "ab")
            if not atomic.try_lock(stream.fileno()):
                stream.close()
                raise SonoforgeError(f"{self.path}: another process is writing it; wait for it or choose another file")
            if os.name != "posix" or os.path.samestat(os.fstat(stream.fileno()), self.path.stat()):
                return stream
            stream.close()  # it was replaced before it was locked

    def _continue(self, resume: bool) -> None:
        """Keep the parts of the file that still hold."""
        data = self.path.read_bytes()
        if data and not resume:
            raise SonoforgeError(
                f"{self.path}: exists already; --resume continues it, or remove it or choose another file"
            )
        kept = self._kept(data)
        if kept is None:
            return
        if os.name != "posix":  # where an open file cannot be replaced
            self._stream.close()
        with replacing(self.path) as file:
            file.write(kept)
        self._stream.close()
        self._stream = self._opened_alone()

    def _kept(self, data: bytes) -> bytes | None:
        """Note what an existing file answers; return its new content, or None if it need not change."""
        whole = data[: self._form.whole(data)]
        if not whole:
            return self._form.head.encode()
        lines = [self._form.head]
        for name, about, line, failed in self._form.read(whole.decode(errors="surrogateescape"), self.path):
            if (about["model_sha256"], about["settings"]) != self._origin:
                raise SonoforgeError(
                    f"{self.path}: cannot be continued, it was made with {self._difference(about)}; give the same "
                    "settings or choose another file"
                )
            file = name[1:] if name.startswith("'") and defused(name[1:]) == name else name
            if name not in self.answered and about == identity(file, self._origin):
                self.answered.add(name)
                self.failed += failed
                lines.append(line)
        kept = "".join(lines).encode(errors="surrogateescape")
        return None if kept == data else kept

    def _difference(self, about: Mapping[str, str]) -> str:
        """Return ``crop=none and not crop=auto``: the settings of a row that differ from this command's."""
        theirs, ours = about["settings"].split("; "), self._origin[1].split("; ")
        other = [setting for setting in theirs if setting not in ours]
        if not other:
            return f"model sha256 {about['model_sha256'][:16]} and not {self._origin[0][:16]}"
        return f"{', '.join(other)[:160]} and not {', '.join(own for own in ours if own not in theirs)}"

    def holds(self, file: str) -> bool:
        """Whether it holds an answer for a file."""
        return defused(file) in self.answered

    def add(self, entry: Entry) -> None:
        """Append one answer, handed to the operating system at once."""
        line = self._form.line(entry, identity(entry["file"], self._origin)).encode(errors="surrogateescape")
        with refusing(f"{self.path}: cannot be written", "free the disk, then --resume"):
            self._stream.write(line)

    def close(self) -> None:
        """Make all lines survive a power cut."""
        with self._stream:
            os.fsync(self._stream.fileno())


def csv_format(manifest: ClassifierManifest) -> CsvFormat:
    """Return the columns of ``sonoforge classify --csv``.

    ``q_NAME`` is the probability of yes, ``yes_from_NAME`` where yes begins, ``NAME`` the answer; ``crop_box`` is the
    part of the picture, or of the ``dicom_region``, that the network saw: left, top, right and bottom in pixels, the
    last two exclusive.
    """
    asked = [f"{form}{question.name}" for question in manifest.questions for form in ("q_", "yes_from_", "")]
    probabilities = [f"p_{name}" for name in manifest.classes]
    return CsvFormat([*LABEL_COLUMNS, *probabilities, *asked, *TRUST_COLUMNS, *IMAGE_COLUMNS], cells_of)


def cells_of(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the cells of an answer by column; lists are joined by ``|``."""
    trust, quality = result["trust"], result["quality"]
    motion = result["clip"]["motion"] if "clip" in result else {"per_frame": None, "flags": []}
    return {
        "verdict": result["verdict"],
        "label": defused(result["label"]),
        **{f"p_{name}": repr(value) for name, value in result["probabilities"].items()},
        **{f"q_{name}": repr(finding["probability"]) for name, finding in result["findings"].items()},
        **{f"yes_from_{name}": repr(finding["threshold"]) for name, finding in result["findings"].items()},
        **{name: "yes" if finding["positive"] else "no" for name, finding in result["findings"].items()},
        "set": defused("|".join(result["set"])),
        "trust_score": repr(trust["score"]),
        "in_distribution": str(trust["in_distribution"]).lower(),
        "trust_reasons": defused("|".join(trust["reasons"])),
        **{name: repr(value) for name, value in quality.items() if name != "flags"},
        "quality_flags": "|".join(quality["flags"]),
        "kind": result["kind"],
        "marks": result["marks"]["summary"],
        "remarks": "|".join(result["remarks"]),
        "dicom_region": _box(result.get("dicom", {}).get("region")),
        "crop_box": _box((result["crop"] or {}).get("box")),
        "motion_per_frame": "" if motion["per_frame"] is None else repr(motion["per_frame"]),
        "motion_flags": "|".join(motion["flags"]),
        **{name: defused(result[name] or "") for name in ("copy_of", "seems_copy_of", "series")},
        "trained_on": "" if result["trained_on"] is None else str(result["trained_on"]).lower(),
    }


def _box(edges: Sequence[int] | None) -> str:
    """Return ``left|top|right|bottom`` in pixels; empty for none."""
    return "|".join(map(str, edges or ()))

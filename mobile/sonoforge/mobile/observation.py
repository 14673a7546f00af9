"""Let a running server be watched: figures for Prometheus, and an access log of JSON lines.

Neither holds a file's name, a client's address or anything about a patient.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Mapping
from importlib import metadata
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime

from sonoforge.runtime import machine
from sonoforge.runtime.atomic import plain
from sonoforge.runtime.errors import reason, refusing

if TYPE_CHECKING:
    from sonoforge.runtime.inference.classifier import Classifier

log = logging.getLogger(__name__)

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FAMILIES: dict[str, list[str]] = json.loads(Path(__file__).with_name("metrics.json").read_text(encoding="utf-8"))
_BOUNDS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30", "+Inf")  # seconds
_MODEL = {"name": "bundle", "version": "bundle_version", "sha256": "model_sha256"}  # labels
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})  # in a label
_PARTS = ("decode", "preprocess", "infer")  # of an answer's ``ms``
_SAY_AGAIN = 60.0  # seconds between two messages about the same trouble


class Metrics:
    """Figures named as in ``metrics.json``, safe from many threads, as text for Prometheus (format 0.0.4)."""

    def __init__(self, classifier: Classifier) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[str, float]] = {name: {} for name in _FAMILIES}  # by name, suffix and labels
        version = next((own.version for own in metadata.distributions(name="sonoforge")), "unknown")  # from a folder
        model = {_MODEL[key]: value for key, value in classifier.model.items()}
        self.add("sonoforge_info", 1, "", **model, version=version, onnxruntime=onnxruntime.__version__)
        self.add("process_start_time_seconds", time.time())

    def add(self, family: str, value: float = 1, suffix: str = "", **labels: str) -> None:
        """Add to a figure."""
        pairs = ",".join(f'{name}="{label.translate(_ESCAPED)}"' for name, label in labels.items())
        key = f"{family}{suffix}" + f"{{{pairs}}}" * bool(pairs)
        with self._lock:
            self._values[family][key] = self._values[family].get(key, 0) + value

    def time(self, family: str, seconds: float, **labels: str) -> None:
        """Add a time to a histogram."""
        for bound in _BOUNDS:
            self.add(family, seconds <= float(bound), "_bucket", **labels, le=bound)
        self.add(family, seconds, "_sum", **labels)
        self.add(family, 1, "_count", **labels)

    def saw(self, line: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
        """Count a request by its line of the access log, and the answer or the refusal that it gets."""
        where = {"path": line["path"], "method": line["method"], "status": str(line["status"])}
        self.add("sonoforge_requests_total", **where)
        if "error" in entry:
            self.add("sonoforge_refused_total", reason=entry["error"]["code"])
        if "verdict" in entry:
            self.time("sonoforge_scan_seconds", line["ms"] / 1e3)
            for part in _PARTS:
                self.time("sonoforge_part_seconds", entry["ms"][part] / 1e3, part=part)
            self.add("sonoforge_verdicts_total", verdict=entry["verdict"])
            self.add("sonoforge_labels_total", label=entry["label"])
            for cause in entry["trust"]["causes"]:
                self.add("sonoforge_trust_causes_total", cause=cause)

    def text(self, now: Mapping[str, float]) -> str:
        """Return all figures, with these that are looked up and not counted."""
        now = {**now, "process_cpu_seconds_total": time.process_time()}
        if (held := machine.memory("VmRSS")) is not None:
            now["process_resident_memory_bytes"] = held
        lines = []
        with self._lock:
            for name, (kind, meaning) in _FAMILIES.items():
                values = {name: now[name]} if name in now else self._values[name]
                lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
                lines += [f"{key} {value}" for key, value in values.items()]
        return "\n".join(lines) + "\n"


class AccessLog(WatchedFileHandler):
    """Appends one JSON object a line to a file, which another program may rename meanwhile (logrotate).

    Its troubles stop no answer; they are said aloud, and again each minute.
    """

    def __init__(self, path: str) -> None:
        """Open the log, which is made for its owner alone."""
        self.lost, self._quiet_until = 0, 0.0
        with refusing(f"{path}: the access log cannot be written", "name another file", kinds=OSError):
            Path(path).touch(0o600)
            super().__init__(path, encoding="utf-8")

    def add(self, line: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
        """Append the line of a request, with the answer if it was a scan's."""
        answer = {key: value for key, value in entry.items() if key not in ("file", "map")}
        whole = {**line, "answer": plain(answer)} if "verdict" in entry else line
        record = logging.makeLogRecord({"msg": json.dumps(whole, allow_nan=False)})
        try:
            self.handle(record)
        except OSError:  # its folder is gone
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - as the base class calls it
        """Say that a line is lost."""
        self.lost += 1
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + _SAY_AGAIN
            error, lost = sys.exc_info()[1], "scans are answered, but their lines are LOST until there is room"
            log.error("%s: the access log CANNOT BE WRITTEN (%s); %s", self.baseFilename, reason(error), lost)

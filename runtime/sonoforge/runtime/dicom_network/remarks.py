"""What threads have to say, kept until the main one says it: decoders are silenced, and stderr with them."""

from __future__ import annotations

import threading

_MOST = 100  # lines between two looks


class Remarks:
    """Lines for people, each once said; of a flood only the first ones, and how many more there were."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._more, self._lock = 0, threading.Lock()

    def add(self, line: str) -> None:
        """Note a line."""
        with self._lock:
            if len(self._lines) < _MOST:
                self._lines.append(line)
            else:
                self._more += 1

    def take(self) -> list[str]:
        """Return what was noted since."""
        with self._lock:
            lines = [*self._lines, *[f"and {self._more} more such lines"] * bool(self._more)]
            self._lines, self._more = [], 0
            return lines

"""How many bytes of what others send are held at a time."""

from __future__ import annotations

import threading


class Budget:
    """Bytes of all that is held at a time."""

    def __init__(self, most: int) -> None:
        self._left, self._lock = most, threading.Lock()

    def take(self, count: int) -> bool:
        """Take some, unless fewer are left."""
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True

    def give(self, count: int) -> None:
        """Give them back."""
        with self._lock:
            self._left += count

"""Walk a Protocol Buffers message without its schema: enough to look into an ONNX file before its engine does.

Whatever is no message is a `ValueError`.

Source: Protocol Buffers, "Encoding".  Fields and numbers come in any order and any number of times, as the format
allows; where only one is meant, the last one counts, and parts of a message that is given twice are read as one.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5
"""Wire types; groups (3 and 4), which ONNX does not have, are refused."""

Value = memoryview | int


class Walker:
    """Reads messages, up to a number of fields in all: a hostile file may consist of many million empty ones."""

    def __init__(self, most_fields: int) -> None:
        self._left = most_fields

    def fields(self, message: memoryview) -> Iterator[tuple[int, int, Value]]:
        """Yield number, wire type and value of each field of a message."""
        at = 0
        while at < len(message):
            self._left -= 1
            if self._left < 0:
                raise ValueError("it has too many parts")
            tag, at = varint(message, at)
            number, kind = tag >> 3, tag & 7
            if kind == VARINT:
                value, at = varint(message, at)
                yield number, kind, value
                continue
            if kind == BYTES:
                size, at = varint(message, at)
            elif kind in (FIXED_64, FIXED_32):
                size = 8 if kind == FIXED_64 else 4
            else:
                raise ValueError(f"unknown wire type {kind}")
            if at + size > len(message):
                raise ValueError("it is cut off")
            yield number, kind, message[at : at + size]
            at += size

    def pick(self, message: memoryview, wanted: tuple[int, ...]) -> dict[int, list[memoryview]]:
        """Return the messages and texts of some fields, by number."""
        found: dict[int, list[memoryview]] = {number: [] for number in wanted}
        for number, kind, value in self.fields(message):
            if number in found:
                found[number].append(message_of(number, kind, value))
        return found

    def numbers(self, kind: int, value: Value) -> list[int]:
        """Return the whole numbers of one field of many, each by itself or all packed, as signed 64 bits."""
        if isinstance(value, int):
            return [signed(value)]
        if kind != BYTES:
            raise ValueError(f"found wire type {kind} instead of whole numbers")
        found, at = [], 0
        while at < len(value):
            self._left -= 1
            if self._left < 0:
                raise ValueError("it has too many parts")
            number, at = varint(value, at)
            found.append(signed(number))
        return found


def message_of(number: int, kind: int, value: Value) -> memoryview:
    """Return the value of a field that holds a message, a text or packed numbers."""
    if kind != BYTES or isinstance(value, int):
        raise ValueError(f"field {number} has wire type {kind}")
    return value


def varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return a number of up to 64 bits and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("it is cut off")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise ValueError("a number is too long")


def signed(number: int) -> int:
    """Return 64 bits as two's complement."""
    return number - (1 << 64) if number >> 63 else number


def text(values: list[memoryview]) -> str:
    """Return the last of the values as text; empty without any."""
    return bytes(values[-1]).decode("utf-8") if values else ""

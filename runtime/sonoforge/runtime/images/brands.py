"""Recognise films, AVIF and HEIC by how they begin, whatever their suffix."""

from __future__ import annotations

HEAD_BYTES = 32
"""Bytes by which a film is known."""

# ISO/IEC 14496-12, 4.3: the first box is `ftyp`; older QuickTime files begin with another.
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
"""Names of the first box of MP4 and QuickTime, of AVIF and HEIC."""

AVIF_BRANDS = frozenset((b"avif", b"avis"))
HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"))
"""Brands that `ftyp` lists where a file is a picture: ISO/IEC 23008-12, annex B, and AVIF 1.1, section 6."""

_TEXT = 0x20  # the first byte of a box's length is below, those of text are not
_EBML, _ASF = b"\x1a\x45\xdf\xa3", bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")  # RFC 8794; the header of ASF


def is_film(head: bytes) -> bool:
    """Whether a file that begins so is a film; ``head`` holds at least `HEAD_BYTES` bytes where the file has them."""
    if head[4:8] in BOXES:
        return head[0] < _TEXT and not brands(head) & (AVIF_BRANDS | HEIC_BRANDS)
    return head.startswith((_EBML, _ASF)) or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")


def brands(head: bytes) -> frozenset[bytes]:
    """Return the brands that a file lists at its beginning; none where it begins otherwise."""
    if head[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(head[:4], "big"), HEAD_BYTES)
    return frozenset((head[8:12], *(head[place : place + 4] for place in range(16, end, 4))))

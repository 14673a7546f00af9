"""Places in MobileNetV2, for code that does not load torch."""

OUTLINE_BLOCK = 14
"""The first block that does not read what a lesion's outline is read from, see `zoomed_pass`."""

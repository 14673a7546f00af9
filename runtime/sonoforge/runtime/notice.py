"""Define the notices shown with answers."""

from __future__ import annotations

NOTICE = "Research use, not a medical device."

GUESSES = "This classifier is not shown to be better than guessing."
"""For every answer of a bundle whose evaluation says so."""
TRAINED_THIS = "This scan trained this network: its answer says nothing about other scans."
UNCERTAIN = "uncertain"
"""Replaces the label when the classifier abstains."""


def trained_on_in_words(trained: int | None, scans: int) -> str:
    """Say that some of the scans answered are among the network's training images; empty if none is known to be."""
    if not trained:
        return ""
    if scans == 1:
        return TRAINED_THIS
    return f"{trained} of these {scans} scans trained this network: their answers say nothing about your clinic."

"""Define the notices shown with every answer."""

NOTICE = "Research use, not a medical device."

GUESSES = "This classifier is not shown to be better than guessing."
"""For every answer of a bundle whose evaluation says so."""
UNCERTAIN = "uncertain"
"""Replaces the label when the classifier abstains."""

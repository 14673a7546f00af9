"""What stands beside every answer."""

NOTICE = "Research use, not a medical device."

GUESSES = "This classifier is not shown to be better than guessing."
"""Said with every answer of a bundle whose evaluation says so."""
UNCERTAIN = "uncertain"
"""Stands for the label where the classifier abstains."""

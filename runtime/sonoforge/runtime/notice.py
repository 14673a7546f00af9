"""What stands beside every answer."""

NOTICE = "Research use, not a medical device."

UNCERTAIN = "uncertain"
"""Stands for the label where the classifier abstains."""

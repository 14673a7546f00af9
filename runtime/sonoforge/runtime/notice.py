"""What stands beside every answer."""

NOTICE = "Research use, not a medical device."

UNCERTAIN = "uncertain"
"""Stands for the label of a scan that is handed back."""

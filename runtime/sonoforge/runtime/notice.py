"""What stands beside every answer."""

NOTICE = "Research use, not a medical device."

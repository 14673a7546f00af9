"""Validate externally: judge a finished bundle on labelled images from elsewhere."""

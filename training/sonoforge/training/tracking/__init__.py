"""A run's settings, figures and pictures, sent to a tracker that its user names, or to none."""

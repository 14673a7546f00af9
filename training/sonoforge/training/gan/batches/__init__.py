"""What each step is fed."""

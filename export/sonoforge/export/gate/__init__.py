"""What every exported file has to pass."""

"""What a generator learned: paths, styles, interpolations."""

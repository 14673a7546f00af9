"""Views of what a generator has learned: truncation, styles, paths, projections of real images."""

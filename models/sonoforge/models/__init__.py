"""Network definitions, free of training concerns."""

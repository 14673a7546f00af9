"""Independent tasks, such as folds and generators, on this machine's cores or on the machines of a Ray cluster."""

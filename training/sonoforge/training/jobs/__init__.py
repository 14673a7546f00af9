"""Do whole jobs, one module each: a typed function of a verb's settings, which a notebook can call as the verb does."""

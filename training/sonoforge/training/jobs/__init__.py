"""Do a verb's work from its settings, for the command line and for Python alike."""

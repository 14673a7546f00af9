"""The settings of the verbs that write bundles: nothing here needs more than the base install."""

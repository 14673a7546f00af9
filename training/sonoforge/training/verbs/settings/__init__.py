"""The settings of the verbs that train and measure: nothing here needs more than the base install."""

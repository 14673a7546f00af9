"""The verbs that train and measure, one file each."""

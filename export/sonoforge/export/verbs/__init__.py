"""The verbs that write bundles, one file each."""

"""The verbs that need no torch, one file each."""

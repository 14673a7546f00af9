"""A second search for repeated scans, independent of the one that shapes the split, before anything is trained."""

"""The page and the charts of a search for cells."""

"""The reports, as self-contained pages."""

"""Write the reports, as self-contained pages."""

"""The table of export formats and one writer for each."""

"""One writer a format, and the table of them."""

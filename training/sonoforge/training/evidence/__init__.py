"""Statistics, tables and the published figures beside them."""

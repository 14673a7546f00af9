"""``sonoforge evaluate``: are generated images realistic, diverse, copied?  Reading, measuring, drawing, the page."""

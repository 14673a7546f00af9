"""``sonoforge evaluate``: are generated images realistic, diverse, copied?  Reading, measuring, pictures and the page."""

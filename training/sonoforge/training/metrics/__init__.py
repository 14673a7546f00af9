"""How near generated images are to real ones: one metric, one file; arrays first, wiring last."""

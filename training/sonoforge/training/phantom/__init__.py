"""Simulate breast ultrasound from physics."""

CLASSES = ("normal", "benign", "malignant")
# Shares of the classes in BUSI: 133, 437 and 210 of 780 (Al-Dhabyani et al., Data in Brief 28, 2020).
BALANCE = (0.17, 0.56, 0.27)
MARKED = 0.35  # share of the phantoms with burned-in marks
PHANTOM_IMAGES = 400  # in all classes; always the same set, whatever the training's seed

"""Evaluate generated images: realism, diversity, copying."""

# Below half of the real images' diversity a generator is called collapsed.  On BUSI (malignant, 64x64, batch 32,
# learning rate 0.001) it lay between 0.82 and 1.02 at every tick of 1200 healthy steps.
COLLAPSE_FRACTION = 0.5

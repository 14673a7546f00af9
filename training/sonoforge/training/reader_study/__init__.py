"""Expert reading: a blinded page of real and generated images, and what its readers made of it."""

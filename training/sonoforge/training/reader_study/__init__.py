"""Run reader studies: a blinded page of real and generated images, and how well readers told them apart."""

"""Reader study: a blinded page of real and generated images, and how well its readers told them apart."""

"""Define ProGAN and the StyleGANs: growing networks, styles that steer them, and the layers that they share."""

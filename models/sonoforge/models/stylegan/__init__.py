"""Define the StyleGANs: networks that grow, styles that steer them, and the layers that they share."""

"""What the networks are trained to: losses, regularisers, the perceptual term."""

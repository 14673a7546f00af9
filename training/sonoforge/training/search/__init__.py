"""The search for a GAN's cells: codes, evolution, children and what they show."""

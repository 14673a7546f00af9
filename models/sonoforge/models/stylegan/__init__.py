"""The StyleGAN family: a mapping from latents to styles, and synthesis networks that styles steer."""

"""How near generated images are to real ones: what looks at images with networks; distances are in runtime."""

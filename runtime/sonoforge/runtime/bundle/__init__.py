"""Read and check bundles; refuse bad ones."""

"""Bundles: written with their model card, and each model file compared with the network before it goes in."""

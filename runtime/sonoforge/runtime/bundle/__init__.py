"""Bundles: read, checked, refused."""

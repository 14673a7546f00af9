"""Bundles: assembled, written, packed."""

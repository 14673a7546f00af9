"""Generators as bundles."""

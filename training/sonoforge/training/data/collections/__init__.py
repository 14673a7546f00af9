"""Provide what readers of published sets share: volumes, annotated objects, and writing a folder of classes."""

"""Breast ultrasound simulated from physics."""

"""Estimate with uncertainty, and read tables of predictions and published figures."""

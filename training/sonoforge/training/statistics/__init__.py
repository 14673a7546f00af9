"""Estimates with their uncertainty, tables of predictions, published figures."""

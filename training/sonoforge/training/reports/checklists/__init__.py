"""Reporting checklists and a data sheet, filled from a run folder."""

"""Scans that come over the network as DICOM, and what is sent back."""

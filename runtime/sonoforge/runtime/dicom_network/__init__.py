"""Receive scans over the network as DICOM, and send reports back."""

"""DICOM files as pictures, read by pydicom (extra ``dicom``), and never with the patient."""

"""Read DICOM files as pictures with pydicom (extra ``dicom``), without patient data."""

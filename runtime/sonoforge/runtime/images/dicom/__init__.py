"""Read DICOM files as pictures with pydicom, without patient data."""

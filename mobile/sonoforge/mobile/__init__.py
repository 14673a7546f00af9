"""A classifier's bundle as an app: offline in a browser, on a phone, on a clinic's laptop."""

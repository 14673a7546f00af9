"""External validation: a finished bundle judged on labelled images from elsewhere."""

"""Tables and page of a segmentation experiment."""

"""Judge generators by segmentation: train a U-Net on real or generated pairs of image and label map."""

"""Segmentation: a U-Net trained on real or generated pairs of image and label map judges what generators are worth."""

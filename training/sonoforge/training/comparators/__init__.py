"""Recreate other papers' systems as arms: features of ImageNet networks, and a classifier fitted to them."""

"""Systems of other papers, re-made as arms: features of ImageNet networks and a classifier fitted to them."""

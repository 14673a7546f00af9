"""Published collections: where they are, how they become a folder of classes."""

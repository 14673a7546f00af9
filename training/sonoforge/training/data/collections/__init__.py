"""What the readers of published sets share: films, volumes, annotated objects, and writing a folder of classes."""

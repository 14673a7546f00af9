"""Answer with model files: classes, generated images, trust."""

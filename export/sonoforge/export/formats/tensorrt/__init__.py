"""TensorRT engines: built, described, run."""

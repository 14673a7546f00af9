"""Speed, memory and size of model files."""

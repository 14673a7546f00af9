"""Answers from model files: classes, generated images, trust."""

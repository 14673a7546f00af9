"""One of many trainings of a search: its images, and how it is trained, measured as it goes on, and ended early."""

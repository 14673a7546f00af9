"""Pictures of where in a scan the evidence for an answer lies."""

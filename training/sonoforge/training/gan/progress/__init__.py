"""What is measured while a training goes on."""

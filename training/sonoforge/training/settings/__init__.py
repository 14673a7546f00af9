"""Declare the options of the verbs that train and measure; importable on the base install."""

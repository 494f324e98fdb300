"""Scenarios: what they are, how they are found and run."""

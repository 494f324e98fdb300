"""Defaults of the kinds we serve, one module per family (catalogue 1.8, step 1)."""

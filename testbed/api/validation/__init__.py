"""Validation of the kinds we serve, one module per family, in Kubernetes' words (catalogue 2)."""

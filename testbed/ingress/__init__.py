"""The Ingress controller."""

"""Kubernetes Service networking on real Linux network namespaces."""

__version__ = "0.1.0"

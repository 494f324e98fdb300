"""Namespaces, links, routes and the marks that find them again. No word of Kubernetes."""

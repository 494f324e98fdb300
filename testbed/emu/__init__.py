"""Mininet's Topo, Node, Link and Net on top of the fabric."""

"""Mininet's Topo, Node, Link and Net on top of the fabric.

`spec` (typed data) and `load` need no Mininet; `topo`, `node`, `link` and `net` import it.
"""

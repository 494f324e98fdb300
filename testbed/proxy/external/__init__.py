"""A node proxy that the user brings: a kube-proxy binary, or any program that keeps its contract.

The contract is docs/external-proxy.md.
"""

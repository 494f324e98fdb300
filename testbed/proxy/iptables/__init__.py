"""iptables mode."""

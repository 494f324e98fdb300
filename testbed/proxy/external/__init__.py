"""A node proxy that the user brings."""

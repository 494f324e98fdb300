"""Ingress: objects to one configuration (pure), nginx that serves it, the objects it runs as."""

"""What runs in Pods: the built-in echo application, and programs that a manifest names."""

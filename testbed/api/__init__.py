"""What a user writes: typed views of Kubernetes objects, defaults, validation, allocation. Pure."""

"""The control plane: store, controllers, kubelet, API server."""

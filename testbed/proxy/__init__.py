"""kube-proxy: state, decision and rules, once for every backend."""

"""What an external proxy is given: kube-proxy's configuration file, and its command line. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.api.documents import Document, load_documents
from testbed.errors import UsageError

#: Words of a proxy command that stand for something else on every node.
PLACEHOLDERS = ("config", "kubeconfig", "node", "mode")
#: kube-proxy waits this long between two syncs; its default of 1 s would make every change slow.
MIN_SYNC_PERIOD = "10ms"
#: Where a ConfigMap that kubeadm wrote has the configuration.
_CONFIG_MAP_KEY = "config.conf"


@dataclass(frozen=True, slots=True)
class NodeProxy:
    """One node's external proxy. `directory` is for its files; `kubeconfig` opens the API server
    from within the node's network namespace. `own` are fields of the user's own configuration."""

    node: str
    mode: str
    cluster_cidrs: tuple[str, ...]
    kubeconfig: Path
    directory: Path
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """Where its configuration file stands."""
        return self.directory / "config.yaml"

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.directory / "proxy.log"


def check_command(command: str) -> None:
    """Raise UsageError for a proxy command that can't be one."""
    try:
        words = shlex.split(command)
        command.format(**dict.fromkeys(PLACEHOLDERS, "x"))
    except (KeyError, IndexError) as error:
        known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        raise UsageError(f"--proxy-command: {error} means nothing; there are {known}") from None
    except ValueError as error:
        raise UsageError(f"--proxy-command: {error}") from None
    if not words:
        raise UsageError("--proxy-command: no program in it")


def command_line(command: str, proxy: NodeProxy) -> Sequence[str]:
    """The words of `command` for one node."""
    values = {
        "config": proxy.config,
        "kubeconfig": proxy.kubeconfig,
        "node": proxy.node,
        "mode": proxy.mode,
    }
    return [word.format(**values) for word in shlex.split(command)]


def configuration(proxy: NodeProxy) -> Document:
    """A KubeProxyConfiguration (v1alpha1).

    conntrack's limits are the host's, not the namespace's: 0 leaves them alone. Only the section of
    the mode that is asked for is there: a kube-proxy before 1.29 knows no `nftables`. The user's
    own fields stand over these, but not over what the lab and the node depend on.
    """
    chosen: Document = {
        "clusterCIDR": ",".join(proxy.cluster_cidrs),
        "metricsBindAddress": "127.0.0.1:10249",
        "conntrack": {"maxPerCore": 0, "min": 0},
        proxy.mode: {"syncPeriod": "30s", "minSyncPeriod": MIN_SYNC_PERIOD},
    }
    fixed: Document = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": proxy.mode,
        "hostnameOverride": proxy.node,
        "clientConnection": {"kubeconfig": str(proxy.kubeconfig)},
        "healthzBindAddress": "0.0.0.0:10256",
    }
    return _over(_over({**fixed, **chosen}, proxy.own), fixed)


def own_configuration(documents: Sequence[Document], source: str) -> Document:
    """The fields of a user's KubeProxyConfiguration, or of the ConfigMap that kubeadm has it in.

    `source` names it in UsageErrors.
    """
    if len(documents) != 1:
        raise UsageError(f"{source}: {len(documents)} objects, not one KubeProxyConfiguration")
    document = documents[0]
    text = (document.get("data") or {}).get(_CONFIG_MAP_KEY)
    if document.get("kind") == "ConfigMap" and text:
        source = f"{source}: {_CONFIG_MAP_KEY}"
        return own_configuration(load_documents(text, source), source)
    if document.get("kind") != "KubeProxyConfiguration":
        raise UsageError(f"{source}: kind is {document.get('kind')}, not KubeProxyConfiguration")
    return document


def _over(base: Mapping[str, Any], upper: Mapping[str, Any]) -> Document:
    """`base` with the fields of `upper`; those that are empty leave what `base` says."""
    result = dict(base)
    for name, value in upper.items():
        if isinstance(value, Mapping) and isinstance(result.get(name), Mapping):
            result[name] = _over(result[name], value)
        elif value not in (None, "") or name not in result:
            result[name] = value
    return result

"""Files of objects and settings, and the rules that follow from them on any node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TextIO, TypeAlias, TypeVar

from testbed.api.documents import Document, load_documents, load_file, name_of, namespace_of
from testbed.api.objects import EndpointSlice, Node, Service
from testbed.errors import UsageError
from testbed.proxy.changes import ProxyState
from testbed.proxy.config import DEFAULT_SERVICE_CIDRS, IPTABLES, KubeProxyConfiguration
from testbed.proxy.instance import Instance
from testbed.proxy.iptables.render import Renderer as IptablesRenderer
from testbed.proxy.iptables.ruleset import RuleSet as IptablesRuleSet
from testbed.proxy.nftables.render import Renderer as NftablesRenderer
from testbed.proxy.nftables.ruleset import RuleSet as NftablesRuleSet
from testbed.proxy.node import local_node

RuleSet: TypeAlias = IptablesRuleSet | NftablesRuleSet
_View = TypeVar("_View", Service, EndpointSlice, Node)


@dataclass(frozen=True)
class World:
    """Objects as views, and the settings; `unreadable` names the objects that are no views."""

    services: tuple[Service, ...]
    slices: tuple[EndpointSlice, ...]
    nodes: Mapping[str, Node]
    config: KubeProxyConfiguration = field(default_factory=KubeProxyConfiguration)
    service_cidrs: tuple[str, ...] = DEFAULT_SERVICE_CIDRS
    unreadable: tuple[str, ...] = ()

    def instance(self, node: str, family: str) -> Instance:
        """The instance of `family` on `node`; raises UsageError for an unknown node."""
        if node not in self.nodes:
            known = ", ".join(sorted(self.nodes)) or "the objects hold none"
            raise UsageError(f"no node {node!r}; known: {known}")
        return Instance(local_node(self.nodes[node], family), self.config, self.service_cidrs)

    def state(self, node: str, family: str) -> ProxyState:
        """The proxy's state on `node` once it has seen every object."""
        state = ProxyState(family, node)
        state.replace(self.services, self.slices)
        return state


def render_rules(instance: Instance, state: ProxyState, mode: str) -> RuleSet:
    """The rules of one instance for `state` in `mode`."""
    renderer = IptablesRenderer if mode == IPTABLES else NftablesRenderer
    return renderer(instance).render(state)


def read_world(
    files: Iterable[str],
    standard_input: TextIO,
    config_file: str | None = None,
    settings: Mapping[str, object] | None = None,
    service_cidrs: tuple[str, ...] | None = None,
) -> World:
    """Read objects from `files` (`-` for `standard_input`) and settings.

    `settings` go over `config_file`, by field of KubeProxyConfiguration, dotted where nested.
    `service_cidrs` count where no ServiceCIDR object is among the objects. Raises UsageError for
    what can't be read; an object that is no valid view is left out and named in `unreadable`.
    """
    docs: list[Document] = []
    for name in files:
        docs += load_documents(standard_input.read(), "-") if name == "-" else load_file(name)
    unreadable: list[str] = []
    nodes = _views(docs, "Node", Node.from_document, unreadable)
    cidrs = [
        cidr
        for doc in docs
        if doc["kind"] == "ServiceCIDR"
        for cidr in (doc.get("spec") or {}).get("cidrs") or ()
    ]
    return World(
        services=_views(docs, "Service", Service.from_document, unreadable),
        slices=_views(docs, "EndpointSlice", EndpointSlice.from_document, unreadable),
        nodes={node.name: node for node in nodes},
        config=_with_settings(_read_config(config_file), settings or {}),
        service_cidrs=tuple(cidrs)
        or (DEFAULT_SERVICE_CIDRS if service_cidrs is None else service_cidrs),
        unreadable=tuple(unreadable),
    )


def _views(
    docs: Iterable[Document],
    kind: str,
    read: Callable[[Document], _View],
    unreadable: list[str],
) -> tuple[_View, ...]:
    views = []
    for doc in docs:
        if doc["kind"] == kind:
            try:
                views.append(read(doc))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                name = f"{namespace_of(doc) or 'default'}/{name_of(doc)}"
                unreadable.append(f"{kind} {name}: can't be read ({error}); left out")
    return tuple(views)


def _read_config(path: str | None) -> KubeProxyConfiguration:
    if path is None:
        return KubeProxyConfiguration()
    docs = load_file(path)
    for doc in docs:
        if doc["kind"] == "KubeProxyConfiguration":
            return KubeProxyConfiguration.from_document(doc, path)
    raise UsageError(f"{path}: holds no KubeProxyConfiguration")


def _with_settings(
    config: KubeProxyConfiguration, settings: Mapping[str, object]
) -> KubeProxyConfiguration:
    flat: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        outer, dot, inner = name.partition(".")
        if dot:
            nested.setdefault(outer, {})[inner] = value
        else:
            flat[name] = value
    for outer, values in nested.items():
        flat[outer] = replace(getattr(config, outer), **values)
    return replace(config, **flat)

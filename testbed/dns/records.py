"""The cluster's names, as the Kubernetes DNS specification 1.1 has them. Pure.

Source: github.com/kubernetes/dns docs/specification.md. Where the specification leaves a choice,
CoreDNS' kubernetes plugin decides: an endpoint without a hostname is named by its dashed address, a
Service's own name has SRV records for all its ports, and Pod records exist for every address in a
namespace that exists (`pods insecure`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from testbed.api.objects import Endpoint, EndpointSlice, NamespacedName, Service, family_of
from testbed.dns.names import dashed, from_dashed, normal, parent, reverse, within
from testbed.dns.zone import Answer, Code, Data, Record, Type, Zone

SCHEMA_VERSION = "1.1.0"
#: kubeadm's Corefile has 30.
TTL = 30
#: SRV weights of one name add up to about this. Source: CoreDNS plugin/backend_lookup SRV.
SRV_WEIGHT = 100

Records = dict[str, list[Data]]


class ClusterRecords:
    """The cluster's zone and its addresses' reverse names, kept up to date object by object.

    Each call takes an object's whole state and costs as much as the one Service has records.
    """

    def __init__(self, domain: str = "cluster.local", ttl: int = TTL) -> None:
        self.domain = normal(domain)
        self.zone = Zone(self.domain, ttl)
        self._reverse = Zone("arpa", ttl)
        self._services: dict[NamespacedName, Service] = {}
        self._slices: dict[NamespacedName, dict[NamespacedName, EndpointSlice]] = {}
        self._service_of: dict[NamespacedName, NamespacedName] = {}
        self._namespaces: set[str] = set()
        schema = Data(Type.TXT, SCHEMA_VERSION)
        name_server = Data(Type.NS, f"ns.dns.{self.domain}.")
        self.zone.set(
            "schema",
            {
                self.domain: [name_server],
                f"dns-version.{self.domain}": [schema],
                f"svc.{self.domain}": [],
                f"pod.{self.domain}": [],
            },
        )

    @property
    def version(self) -> int:
        return self.zone.version + self._reverse.version

    # what there is

    def set_server(self, addresses: Iterable[str]) -> None:
        """The zone's name server has these addresses (the DNS Service's)."""
        self.zone.set("server", {f"ns.dns.{self.domain}": [_address(a) for a in addresses]})

    def set_service(self, service: Service) -> None:
        """Take a Service's new state."""
        self._services[service.key] = service
        self._refresh(service.key)

    def delete_service(self, key: NamespacedName) -> None:
        """A Service is gone."""
        self._services.pop(key, None)
        self._refresh(key)

    def set_slice(self, endpoints: EndpointSlice) -> None:
        """Take an EndpointSlice's new state; one without its Service's name has no records."""
        before = self._service_of.pop(endpoints.key, None)
        if before is not None:
            del self._slices[before][endpoints.key]
        if endpoints.service is not None:
            self._service_of[endpoints.key] = endpoints.service
            self._slices.setdefault(endpoints.service, {})[endpoints.key] = endpoints
        for key in {before, endpoints.service} - {None}:
            assert key is not None
            self._refresh(key)

    def delete_slice(self, key: NamespacedName) -> None:
        """An EndpointSlice is gone."""
        service = self._service_of.pop(key, None)
        if service is not None:
            del self._slices[service][key]
            self._refresh(service)

    def set_namespace(self, name: str) -> None:
        """A namespace exists, with or without Services."""
        self._namespaces.add(name)
        names = {f"{name}.{kind}.{self.domain}": () for kind in ("svc", "pod")}
        self.zone.set(("namespace", name), names)

    def delete_namespace(self, name: str) -> None:
        """A namespace is gone."""
        self._namespaces.discard(name)
        self.zone.set(("namespace", name), {})

    # what a question gets

    def lookup(self, name: str, kind: int) -> Answer | None:
        """The answer to a question for a normal name; None for names outside the cluster.

        A reverse name that is no Service's or endpoint's is not the cluster's to deny.
        """
        if within(name, self.domain):
            pod = self._pod(name)
            if pod is not None:
                return self._pod_answer(name, kind, pod)
            return self.zone.lookup(name, kind)
        if within(name, "arpa") and self._reverse.records(name):
            return self._reverse.lookup(name, kind)
        return None

    def _pod(self, name: str) -> str | None:
        """The address in `a-b-c-d.namespace.pod.domain`."""
        label, _, rest = name.partition(".")
        namespace = rest.partition(".")[0]
        if parent(rest) != f"pod.{self.domain}" or namespace not in self._namespaces:
            return None
        return from_dashed(label)

    def _pod_answer(self, name: str, kind: int, address: str) -> Answer:
        data = _address(address)
        if kind not in (data.type, Type.ANY):
            return Answer(Code.NOERROR, authority=(self.zone.soa(),))
        return Answer(Code.NOERROR, (Record(name, data.type, self.zone.ttl, data.data),))

    def _refresh(self, key: NamespacedName) -> None:
        service = self._services.get(key)
        slices = self._slices.get(key, {})
        if not slices:
            self._slices.pop(key, None)
        forward: Records = {}
        backward: Records = {}
        if service is not None:
            ordered = [slices[name] for name in sorted(slices)]
            forward, backward = service_records(service, ordered, self.domain)
        self.zone.set(key, forward)
        self._reverse.set(key, backward)


def service_records(
    service: Service, slices: Iterable[EndpointSlice], domain: str
) -> tuple[Records, Records]:
    """A Service's records by name: those in the cluster's zone, and its reverse names."""
    base = normal(f"{service.key.name}.{service.key.namespace}.svc.{domain}")
    if service.type == "ExternalName":
        target = normal(service.external_name)
        # An address can't be an alias' target: CoreDNS answers NXDOMAIN.
        return ({} if _is_address(target) else {base: [Data(Type.CNAME, f"{target}.")]}), {}
    if service.headless:
        return _headless(service, slices, base)
    return _cluster_ip(service, slices, base)


def _cluster_ip(
    service: Service, slices: Iterable[EndpointSlice], base: str
) -> tuple[Records, Records]:
    if not service.cluster_ips:
        return {}, {}
    forward: Records = {base: [_address(ip) for ip in service.cluster_ips]}
    backward: Records = {reverse(ip): [Data(Type.PTR, f"{base}.")] for ip in service.cluster_ips}
    weight = SRV_WEIGHT // max(len(service.ports), 1)
    for port in service.ports:
        forward[base].append(Data(Type.SRV, f"0 {weight} {port.port} {base}."))
        if port.name:
            name = f"_{port.name}._{port.protocol}.{base}".lower()
            forward[name] = [Data(Type.SRV, f"0 {SRV_WEIGHT} {port.port} {base}.")]
    # A Pod's own name (spec.hostname and subdomain) works below any Service.
    for _, endpoint in _ready(service, slices):
        if endpoint.hostname:
            for ip in endpoint.addresses:
                _add(forward, f"{endpoint.hostname}.{base}".lower(), _address(ip))
    return forward, backward


def _headless(
    service: Service, slices: Iterable[EndpointSlice], base: str
) -> tuple[Records, Records]:
    """Without a ready endpoint the name doesn't exist (specification 2.4.1)."""
    forward: Records = {}
    backward: Records = {}
    ready = [
        (part, normal(endpoint.hostname or dashed(ip)), ip)
        for part, endpoint in _ready(service, slices)
        for ip in endpoint.addresses
    ]
    weight = max(SRV_WEIGHT // max(len(ready), 1), 1)
    for part, hostname, ip in ready:
        target = f"{hostname}.{base}"
        _add(forward, base, _address(ip))
        _add(forward, target, _address(ip))
        _add(backward, reverse(ip), Data(Type.PTR, f"{target}."))
        for port in part.ports:
            if port.port is None:
                continue
            entry = Data(Type.SRV, f"0 {weight} {port.port} {target}.")
            _add(forward, base, entry)
            if port.name:
                _add(forward, f"_{port.name}._{port.protocol}.{base}".lower(), entry)
    return forward, backward


def _ready(
    service: Service, slices: Iterable[EndpointSlice]
) -> Iterator[tuple[EndpointSlice, Endpoint]]:
    """The endpoints to publish; a condition that is left out counts as ready."""
    for part in slices:
        if part.address_type not in ("IPv4", "IPv6"):
            continue
        for endpoint in part.endpoints:
            if endpoint.ready is not False or service.publish_not_ready:
                yield part, endpoint


def _add(records: Records, name: str, data: Data) -> None:
    found = records.setdefault(name, [])
    if data not in found:
        found.append(data)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _address(ip: str) -> Data:
    kind = Type.AAAA if family_of(ip) == "IPv6" else Type.A
    return Data(kind, str(ipaddress.ip_address(ip)))

"""The rules for the other kinds, V-118 to V-213: one row each, the answer after the envelope."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from testbed.api.documents import Document
from testbed.api.status import StatusError

from .rules import admission, answer, create, full, obj, trimmed

PROTOCOLS = 'supported values: "SCTP", "TCP", "UDP"'
POLICIES = 'supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"'
LABELS = "spec.template.metadata.labels: Invalid value"


def eps(*addresses: str, family: str | None = "IPv4", **endpoint: Any) -> Document:
    """A slice with one endpoint."""
    entry = {"addresses": list(addresses), **endpoint}
    out = obj("EndpointSlice", "e", endpoints=[entry], ports=[{"port": 80}])
    if family is not None:
        out["addressType"] = family
    return out


def eps_ports(*ports: Document) -> Document:
    return {**eps("10.0.0.1"), "ports": list(ports)}


SPECIAL = {
    "V-129": ("127.0.0.1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
    "V-130": ("0.0.0.0", "may not be unspecified (0.0.0.0)"),
    "V-131": ("169.254.1.1", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
    "V-132": (
        "224.0.0.5",
        "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
    ),
    "V-134": ("10.0.0.010", "must not have leading 0s"),
    "V-128": ("foo", "<IP>"),
}

SLICES: list[tuple[str, Document, str]] = [
    ("V-118", eps("10.0.0.1", family=None), "addressType: Required value"),
    (
        "V-119",
        eps("10.0.0.1", family="IP"),
        'addressType: Unsupported value: "IP": supported values: "FQDN", "IPv4", "IPv6"',
    ),
    ("V-122", eps(), "endpoints[0].addresses: Required value: must contain at least 1 address"),
    (
        "V-123",
        eps(*(f"10.0.0.{i}" for i in range(1, 102))),
        "endpoints[0].addresses: Too many: 101: must have at most 100 items",
    ),
    (
        "V-124",
        {**eps("10.0.0.1"), "endpoints": [{"addresses": ["10.0.0.1"]}] * 1001},
        "endpoints: Too many: 1001: must have at most 1000 items",
    ),
    (
        "V-125",
        eps("fd00::1"),
        'endpoints[0].addresses: Invalid value: "fd00::1": must be an IPv4 address',
    ),
    (
        "V-126",
        eps("10.0.0.1", family="IPv6"),
        'endpoints[0].addresses: Invalid value: "10.0.0.1": must be an IPv6 address',
    ),
    (
        "V-127",
        eps("FD00:0::1", family="IPv6"),
        'endpoints[0].addresses[0]: Invalid value: "FD00:0::1": '
        'must be in canonical form ("fd00::1")',
    ),
    *(
        (rule, eps(ip), f'endpoints[0].addresses[0]: Invalid value: "{ip}": {text}')
        for rule, (ip, text) in SPECIAL.items()
    ),
    (
        "V-135",
        eps("a", family="FQDN"),
        'endpoints[0].addresses[0]: Invalid value: "a": '
        "should be a domain with at least two segments separated by dots",
    ),
    (
        "V-136",
        eps_ports({"name": "a", "port": 80}, {"name": "a", "port": 81}),
        'ports[1].name: Duplicate value: "a"',
    ),
    ("V-136", eps_ports({"port": 80}, {"port": 81}), 'ports[1].name: Duplicate value: ""'),
    ("V-137", eps_ports({"name": "A_", "port": 80}), 'ports[0].name: Invalid value: "A_": <L>'),
    (
        "V-138",
        eps_ports({"protocol": "ICMP", "port": 80}),
        f'ports[0].protocol: Unsupported value: "ICMP": {PROTOCOLS}',
    ),
    (
        "V-140",
        eps_ports({"appProtocol": "a b", "port": 80}),
        'ports[0].appProtocol: Invalid value: "a b": <Q>',
    ),
    (
        "V-141",
        eps("10.0.0.1", hostname="A_b"),
        'endpoints[0].hostname: Invalid value: "A_b": <L>',
    ),
    (
        "V-142",
        eps("10.0.0.1", nodeName="A_b"),
        'endpoints[0].nodeName: Invalid value: "A_b": <SD>',
    ),
    (
        "V-143",
        eps("10.0.0.1", hints={"forZones": [{"name": f"z{i}"} for i in range(9)]}),
        "endpoints[0].hints.forZones: Too many: 9: must have at most 8 items",
    ),
    (
        "V-144",
        eps("10.0.0.1", hints={"forZones": [{"name": "z"}, {"name": "z"}]}),
        'endpoints[0].hints.forZones[1].name: Duplicate value: "z"',
    ),
    (
        "V-145",
        eps("10.0.0.1", hints={"forNodes": [{"name": f"n{i}"} for i in range(9)]}),
        "endpoints[0].hints.forNodes: Too many: 9: must have at most 8 items",
    ),
    (
        "V-146",
        eps("10.0.0.1", hints={"forNodes": [{"name": "A_"}]}),
        'endpoints[0].hints.forNodes[0].name: Invalid value: "A_": <SD>',
    ),
    (
        "V-147",
        {**eps("10.0.0.1"), "metadata": {"name": "A_b"}},
        'metadata.name: Invalid value: "A_b": <SD>',
    ),
]


def ep(**subset: Any) -> Document:
    return obj("Endpoints", "ep", subsets=[subset])


TEN = [{"ip": "10.0.0.1"}]
ENDPOINTS: list[tuple[str, Document, str]] = [
    (
        "V-149",
        ep(addresses=[{"ip": "127.0.0.1"}]),
        'subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": '
        "may not be in the loopback range (127.0.0.0/8, ::1/128)",
    ),
    ("V-150", ep(), "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"),
    (
        "V-151",
        ep(addresses=TEN, ports=[{"port": 80}, {"port": 81}]),
        "[subsets[0].ports[0].name: Required value, subsets[0].ports[1].name: Required value]",
    ),
    (
        "V-152",
        ep(addresses=TEN, ports=[{"port": 0}]),
        "subsets[0].ports[0].port: Invalid value: 0: <P>",
    ),
    (
        "what is no address is said twice, around the other fields",
        ep(addresses=[{"ip": "foo", "hostname": "A"}]),
        '[subsets[0].addresses[0].ip: Invalid value: "foo": <IP>, '
        'subsets[0].addresses[0].hostname: Invalid value: "A": <L>, '
        'subsets[0].addresses[0].ip: Invalid value: "foo": must be a valid IP address]',
    ),
]


def pod(*containers: Document, **spec: Any) -> Document:
    return obj("Pod", "p", {"containers": list(containers), **spec})


def simple(**spec: Any) -> Document:
    """A Pod with one good container."""
    return pod({"name": "c", "image": "i"}, **spec)


def with_ports(*ports: Document, **spec: Any) -> Document:
    return pod({"name": "c", "image": "i", "ports": list(ports)}, **spec)


PORT = "spec.containers[0].ports[0]"
SEARCHES = [f"s{i}.example.com" for i in range(33)]
LONG = ["a" * 60 + "." + "b" * 60 for _ in range(20)]
SERVERS = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]


def shown(values: list[str]) -> str:
    return "[" + ",".join(f'"{value}"' for value in values) + "]"


PODS: list[tuple[str, Document, str]] = [
    ("V-153", pod(), "spec.containers: Required value"),
    ("V-154", pod({"name": "c"}), "spec.containers[0].image: Required value"),
    ("V-155", pod({"image": "i"}), "spec.containers[0].name: Required value"),
    (
        "V-156",
        pod({"name": "c", "image": "i"}, {"name": "c", "image": "i"}),
        'spec.containers[1].name: Duplicate value: "c"',
    ),
    ("V-157", with_ports({}), f"{PORT}.containerPort: Required value"),
    (
        "V-158",
        with_ports({"containerPort": 70000}),
        f"{PORT}.containerPort: Invalid value: 70000: <P>",
    ),
    (
        "V-158",
        with_ports({"containerPort": 80, "hostPort": 70000}),
        f"{PORT}.hostPort: Invalid value: 70000: <P>",
    ),
    (
        "V-159",
        with_ports(
            {"containerPort": 80, "hostPort": 8080}, {"containerPort": 81, "hostPort": 8080}
        ),
        'spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//8080"',
    ),
    (
        "V-160",
        with_ports({"containerPort": 80, "name": "web_1"}),
        f'{PORT}.name: Invalid value: "web_1": must contain only alpha-numeric characters '
        "(a-z, 0-9), and hyphens (-)",
    ),
    (
        "V-161",
        with_ports({"containerPort": 80, "name": "abcdefghijklmnop"}),
        f'{PORT}.name: Invalid value: "abcdefghijklmnop": must be no more than 15 characters',
    ),
    (
        "V-162",
        with_ports({"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}),
        'spec.containers[0].ports[1].name: Duplicate value: "a"',
    ),
    (
        "V-163",
        with_ports({"containerPort": 80, "protocol": "x"}),
        f'{PORT}.protocol: Unsupported value: "x": {PROTOCOLS}',
    ),
    (
        "V-164",
        with_ports({"containerPort": 80, "hostPort": 81}, hostNetwork=True),
        f"{PORT}.hostPort: Invalid value: 81: "
        "must match `containerPort` when `hostNetwork` is true",
    ),
    ("V-167", simple(hostname="A_b"), 'spec.hostname: Invalid value: "A_b": <L>'),
    (
        "V-168",
        simple(subdomain="a.b"),
        'spec.subdomain: Invalid value: "a.b": must not contain dots',
    ),
    (
        "V-169",
        simple(dnsPolicy="Foo"),
        f'spec.dnsPolicy: Unsupported value: "Foo": {POLICIES}',
    ),
    (
        "V-170",
        simple(dnsPolicy="None"),
        "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
    ),
    (
        "V-171",
        simple(dnsConfig={"nameservers": SERVERS}),
        f"spec.dnsConfig.nameservers: Invalid value: {shown(SERVERS)}: "
        "must not have more than 3 nameservers",
    ),
    (
        "V-172",
        simple(dnsConfig={"nameservers": ["foo"]}),
        'spec.dnsConfig.nameservers[0]: Invalid value: "foo": <IP>',
    ),
    (
        "V-173",
        simple(dnsConfig={"searches": SEARCHES}),
        f"spec.dnsConfig.searches: Invalid value: {shown(SEARCHES)}: "
        "must not have more than 32 search paths",
    ),
    (
        "V-174",
        simple(dnsConfig={"searches": LONG}),
        f"spec.dnsConfig.searches: Invalid value: {shown(LONG)}: must not have more than 2048 "
        "characters (including spaces) in the search list",
    ),
    (
        "V-175",
        simple(dnsConfig={"options": [{"value": "1"}]}),
        "spec.dnsConfig.options[0]: Required value: must not be empty",
    ),
    (
        "V-176",
        simple(hostAliases=[{"ip": "x"}]),
        'spec.hostAliases[0].ip: Invalid value: "x": <IP>',
    ),
    (
        "V-177",
        pod({"name": "c", "image": "i", "readinessProbe": {"httpGet": {"port": 0}}}),
        "spec.containers[0].readinessProbe.httpGet.port: Invalid value: 0: <P>",
    ),
    (
        "V-178",
        simple(readinessGates=[{"conditionType": "a b"}]),
        'spec.readinessGates[0].conditionType: Invalid value: "a b": <Q>',
    ),
    (
        "V-179",
        simple(restartPolicy="x"),
        'spec.restartPolicy: Unsupported value: "x": '
        'supported values: "Always", "OnFailure", "Never"',
    ),
]


def deployment(**spec: Any) -> Document:
    """A good Deployment of label a=b, with `spec` over it; None takes a field away."""
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    whole: Document = {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}
    return obj("Deployment", "d", {k: v for k, v in whole.items() if v is not None})


def never(document: Document) -> Document:
    document["spec"]["template"]["spec"]["restartPolicy"] = "Never"
    return document


MISMATCH = "`selector` does not match template `labels`"
ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}
DEPLOYMENTS: list[tuple[str, Document, str]] = [
    (
        "V-182",
        deployment(selector=None),
        f'[spec.selector: Required value, {LABELS}: {{"a":"b"}}: {MISMATCH}]',
    ),
    (
        "V-183",
        deployment(selector={"matchLabels": {"a": "c"}}),
        f'{LABELS}: {{"a":"b"}}: {MISMATCH}',
    ),
    (
        "V-184",
        deployment(selector={}),
        "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
    ),
    (
        "V-185",
        deployment(replicas=-1),
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
    ),
    (
        "V-186",
        deployment(strategy=ROLLING),
        "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: "
        "may not be 0 when `maxSurge` is 0",
    ),
    (
        "V-187",
        deployment(strategy={"type": "Recreate", "rollingUpdate": {}}),
        "spec.strategy.rollingUpdate: Forbidden: "
        "may not be specified when strategy `type` is 'Recreate'",
    ),
    (
        "V-188",
        never(deployment()),
        'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
    ),
]


def ingress(host: str = "", **path: Any) -> Document:
    """An Ingress with one rule of one path."""
    service = {"service": {"name": "web", "port": {"number": 80}}}
    entry = {"path": "/", "pathType": "Prefix", "backend": service, **path}
    rule = {"http": {"paths": [{k: v for k, v in entry.items() if v is not None}]}}
    return obj("Ingress", "i", {"rules": [rule | ({"host": host} if host else {})]})


def backend(name: str = "web", **port: Any) -> Document:
    return ingress(backend={"service": {"name": name, "port": port}})


PATH = "spec.rules[0].http.paths[0]"
WILDCARD = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which "
    "must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric "
    r"character (e.g. '*.example.com', regex used for validation is "
    r"'\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
INGRESSES: list[tuple[str, Document, str]] = [
    (
        "V-190",
        obj("Ingress", "i", {}),
        "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified",
    ),
    (
        "V-191",
        ingress("1.2.3.4"),
        'spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address',
    ),
    ("V-192", ingress("a.com:80"), 'spec.rules[0].host: Invalid value: "a.com:80": <SD>'),
    ("V-194", ingress("a.*.com"), f'spec.rules[0].host: Invalid value: "a.*.com": {WILDCARD}'),
    (
        "V-195",
        ingress(pathType=None),
        f"{PATH}.pathType: Required value: pathType must be specified",
    ),
    (
        "V-196",
        ingress(pathType="Foo"),
        f'{PATH}.pathType: Unsupported value: "Foo": '
        'supported values: "Exact", "ImplementationSpecific", "Prefix"',
    ),
    ("V-197", ingress(path="foo"), f'{PATH}.path: Invalid value: "foo": must be an absolute path'),
    (
        "V-198",
        ingress(path="/a//b"),
        f"{PATH}.path: Invalid value: \"/a//b\": must not contain '//'",
    ),
    (
        "V-199",
        ingress(path="/a/../b"),
        f"{PATH}.path: Invalid value: \"/a/../b\": must not contain '/../'",
    ),
    (
        "V-200",
        backend("A_b", number=80),
        f'{PATH}.backend.service.name: Invalid value: "A_b": <L>',
    ),
    ("V-201", backend(), f"{PATH}.backend: Required value: port name or number is required"),
    (
        "V-203",
        backend(number=70000),
        f"{PATH}.backend.service.port.number: Invalid value: 70000: <P>",
    ),
    (
        "V-204",
        ingress(backend=None),
        f'{PATH}.backend: Invalid value: "": resource or service backend is required',
    ),
]


def cidr(*cidrs: str) -> Document:
    return obj("ServiceCIDR", "a", {"cidrs": list(cidrs)})


CIDRS: list[tuple[str, Document, str]] = [
    ("V-205", cidr(), "spec.cidrs: Required value: at least one CIDR required"),
    (
        "V-206",
        cidr("10.1.0.0/24", "fd01::/64", "10.2.0.0/24"),
        'spec.cidrs: Invalid value: {"CIDRs":["10.1.0.0/24","fd01::/64","10.2.0.0/24"]}: '
        "may only hold up to 2 values",
    ),
    (
        "V-207",
        cidr("10.1.0.0/24", "10.2.0.0/24"),
        'spec.cidrs: Invalid value: ["10.1.0.0/24","10.2.0.0/24"]: may specify no more than one IP '
        "for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
    ),
    (
        "V-208",
        cidr("10.1.0.1/24"),
        'spec.cidrs[0]: Invalid value: "10.1.0.1/24": '
        "must not have bits set beyond the prefix length",
    ),
    ("V-209", cidr("foo"), 'spec.cidrs[0]: Invalid value: "foo": <CIDR>'),
    (
        "V-212",
        obj("IPAddress", "foo", {"parentRef": {"resource": "services", "name": "a"}}),
        'metadata.name: Invalid value: "foo": <IP>',
    ),
    ("V-213", obj("IPAddress", "10.96.0.40", {}), "spec.parentRef: Required value"),
]

REFUSED = SLICES + ENDPOINTS + PODS + DEPLOYMENTS + INGRESSES + CIDRS


@pytest.mark.parametrize(("rule", "given", "expected"), REFUSED, ids=[row[0] for row in REFUSED])
def test_object_is_refused(rule: str, given: Document, expected: str) -> None:
    assert answer(given) == full(expected)


def test_v202_a_port_has_a_name_or_a_number() -> None:
    given = ingress(backend={"service": {"name": "web", "port": {"name": "a", "number": 80}}})
    words = f'{PATH}.backend: Invalid value: "": cannot set both port name & port number'
    assert answer(given) == words


ACCEPTED: list[tuple[str, Document]] = [
    ("V-133", eps("239.1.1.1")),
    *(("V-139", eps_ports({"port": number})) for number in (0, 70000)),
    ("V-139", eps_ports({})),
    ("V-139", eps_ports(*({"name": f"p{i}", "port": 80} for i in range(101)))),
    ("V-166", with_ports({"containerPort": 80, "hostPort": 80, "hostIP": "foo"})),
    ("V-180", simple(terminationGracePeriodSeconds=-1)),
    ("V-193", ingress("*.a.com")),
    ("V-211", cidr("fd01::/63")),
]


@pytest.mark.parametrize(("rule", "given"), ACCEPTED, ids=[row[0] for row in ACCEPTED])
def test_object_is_accepted(rule: str, given: Document) -> None:
    assert answer(given) == ""


def test_v121_fqdn_slices_are_deprecated() -> None:
    words = "spec.addressType: FQDN endpoints are deprecated"
    assert create(eps("a.b", family="FQDN"))[1] == (words,)


def test_every_write_of_endpoints_warns() -> None:
    words = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
    assert create(ep(addresses=TEN, ports=[{"port": 80}]))[1] == (words,)


def test_v165_host_network_sets_host_ports() -> None:
    stored, _ = create(with_ports({"containerPort": 80}, hostNetwork=True))
    assert stored["spec"]["containers"][0]["ports"][0]["hostPort"] == 80


def changed(document: Document, **spec: Any) -> str:
    """What is wrong with changing fields of spec (or of the object, where it has none)."""
    made = admission()
    stored, _ = create(document, admission=made)
    new = copy.deepcopy(stored)
    new.get("spec", new).update(spec)
    resource = {"EndpointSlice": "endpointslices", "ServiceCIDR": "servicecidrs"}
    kind = document["kind"]
    try:
        made.update(resource.get(kind, kind.lower() + "s"), new, stored)
    except StatusError as error:
        return trimmed(error)
    return ""


def test_v120_address_type_is_fixed() -> None:
    words = 'addressType: Invalid value: "IPv6": field is immutable'
    new_endpoints = [{"addresses": ["fd00::1"]}]
    assert changed(eps("10.0.0.1"), addressType="IPv6", endpoints=new_endpoints) == words


def test_too_many_zone_hints_hide_node_hints() -> None:
    hints = {"forZones": [{"name": "z"}] * 9, "forNodes": [{"name": "A_"}]}
    expected = "endpoints[0].hints.forZones: Too many: 9: must have at most 8 items"
    assert answer(eps("10.0.0.1", hints=hints)) == expected


def test_endpoints_left_as_they_were_are_not_checked_again() -> None:
    stored, _ = create(ep(addresses=TEN))
    stored["subsets"][0]["addresses"][0]["ip"] = "010.0.0.1"
    labelled = copy.deepcopy(stored)
    labelled["metadata"]["labels"] = {"a": "b"}
    assert admission().update("endpoints", labelled, stored).document["subsets"]
    labelled["subsets"][0]["addresses"].append({"ip": "10.0.0.2"})
    with pytest.raises(StatusError, match="must not have leading 0s"):
        admission().update("endpoints", labelled, stored)


def test_a_slice_without_ports_can_be_changed() -> None:
    made = admission()
    stored, _ = create({**eps("10.0.0.1"), "ports": []}, admission=made)
    assert stored["ports"] is None
    for subresource in ("", "status"):
        again = made.update(
            "endpointslices", copy.deepcopy(stored), stored, subresource=subresource
        )
        assert again.document == stored


def test_v181_a_pods_spec_is_fixed() -> None:
    words = (
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
        "additions to existing tolerations),`spec.terminationGracePeriodSeconds`"
    )
    assert changed(simple(), hostname="other").startswith(words)
    containers = [{"name": "c", "image": "other", "imagePullPolicy": "Always"}]
    image_only = create(simple())[0]["spec"]["containers"][0] | {"image": "other"}
    assert changed(simple(), containers=[image_only]) == ""
    assert changed(simple(), containers=containers * 2) != ""


def test_a_pods_own_manifest_can_be_written_again() -> None:
    made = admission()
    stored, _ = create(simple(), admission=made)
    again = copy.deepcopy(simple())
    again["metadata"]["namespace"] = "default"
    assert made.update("pods", again, stored).document["spec"] == stored["spec"]


def test_v189_a_deployments_selector_is_fixed() -> None:
    words = 'spec.selector: Invalid value: {"matchLabels":{"a":"z"}}: field is immutable'
    template = copy.deepcopy(deployment()["spec"]["template"])
    template["metadata"]["labels"] = {"a": "z"}
    given = changed(deployment(), selector={"matchLabels": {"a": "z"}}, template=template)
    assert given == words


def test_v210_a_service_cidr_is_fixed_but_for_a_second_family() -> None:
    words = 'spec.cidrs[0]: Invalid value: "203.0.114.0/28": field is immutable'
    assert changed(cidr("203.0.113.0/28"), cidrs=["203.0.114.0/28"]) == words
    assert changed(cidr("203.0.113.0/28"), cidrs=["203.0.113.0/28", "fd02::/112"]) == ""


def test_deployment_without_selector_names_both_errors() -> None:
    given = deployment(selector=None)
    given["spec"]["template"]["metadata"]["labels"] = {"app": "my-app"}
    assert (
        answer(given)
        == f'[spec.selector: Required value, {LABELS}: {{"app":"my-app"}}: {MISMATCH}]'
    )

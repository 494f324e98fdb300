"""The rules for new Services, V-001 to V-089: one row each, the answer after the envelope."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.api.documents import Document
from testbed.api.status import StatusError

from .rules import admission, answer, create, full, svc

LB: dict[str, Any] = {"type": "LoadBalancer"}
NP: dict[str, Any] = {"type": "NodePort"}
EN: dict[str, Any] = {"type": "ExternalName"}
RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
BALANCER = "may only be used when `type` is 'LoadBalancer'"
TOPOLOGY = {
    "service.kubernetes.io/topology-mode": "Auto",
    "service.kubernetes.io/topology-aware-hints": "Disabled",
}


def port(**members: Any) -> Document:
    return svc(ports=[{"port": 80, **members}])


def ports(*entries: Any, **spec: Any) -> Document:
    return svc(ports=list(entries), **spec)


def annotated(**annotations: str) -> dict[str, Any]:
    return {"annotations": annotations}


REFUSED: list[tuple[str, Document, str]] = [
    ("V-001", svc("Foo"), 'metadata.name: Invalid value: "Foo": <L>'),
    (
        "V-002",
        svc("a" * 64),
        f'metadata.name: Invalid value: "{"a" * 64}": must be no more than 63 characters',
    ),
    ("V-003", svc("a.b"), 'metadata.name: Invalid value: "a.b": must not contain dots'),
    ("V-005", ports(), "spec.ports: Required value"),
    *(
        (
            "V-007",
            ports({"port": number}),
            f"[spec.ports[0].port: Invalid value: {number}: <P>, "
            f"spec.ports[0].targetPort: Invalid value: {number}: <P>]",
        )
        for number in (0, -1, 65536)
    ),
    (
        "V-008",
        ports({"port": 80}, {"port": 81}),
        "[spec.ports[0].name: Required value, spec.ports[1].name: Required value]",
    ),
    (
        "V-009",
        ports({"port": 80, "name": "a"}, {"port": 81, "name": "a"}),
        'spec.ports[1].name: Duplicate value: "a"',
    ),
    ("V-010", port(name="A_b"), 'spec.ports[0].name: Invalid value: "A_b": <L>'),
    (
        "V-011",
        ports({"port": 80, "name": "a"}, {"port": 80, "name": "b"}),
        'spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,'
        '"Port":80,"TargetPort":0,"NodePort":0}',
    ),
    (
        "V-013",
        port(protocol="ICMP"),
        'spec.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"',
    ),
    ("V-014", port(targetPort=70000), "spec.ports[0].targetPort: Invalid value: 70000: <P>"),
    (
        "V-015",
        port(targetPort="this-name-is-too-long"),
        'spec.ports[0].targetPort: Invalid value: "this-name-is-too-long": '
        "must be no more than 15 characters",
    ),
    (
        "V-016",
        port(targetPort="web_1"),
        'spec.ports[0].targetPort: Invalid value: "web_1": '
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    ),
    (
        "V-017",
        port(targetPort="123"),
        'spec.ports[0].targetPort: Invalid value: "123": must contain at least one letter (a-z)',
    ),
    (
        "V-018",
        port(targetPort="a--b"),
        'spec.ports[0].targetPort: Invalid value: "a--b": must not contain consecutive hyphens',
    ),
    ("V-019", port(appProtocol="a b"), 'spec.ports[0].appProtocol: Invalid value: "a b": <Q>'),
    (
        "V-020",
        port(nodePort=30007),
        "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
    ),
    *(
        (
            "V-021",
            ports({"port": 80, "nodePort": number}, **NP),
            f"spec.ports[0].nodePort: Invalid value: {number}: provided port is not in the valid "
            "range. The range of valid ports is 30000-32767",
        )
        for number in (80, 32768)
    ),
    (
        "V-022",
        ports({"port": 80, "nodePort": 30081, "protocol": "UDP"}, **NP),
        "spec.ports[0].nodePort: Invalid value: 30081: provided port is already allocated",
    ),
    (
        "V-023",
        ports(
            {"port": 80, "name": "a", "nodePort": 30080},
            {"port": 81, "name": "b", "nodePort": 30080},
            **NP,
        ),
        "spec.ports[1].nodePort: Invalid value: 30080: provided port is already allocated",
    ),
    (
        "V-025",
        svc(type="Foo"),
        'spec.type: Unsupported value: "Foo": '
        'supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"',
    ),
    *(
        (
            rule,
            svc(type=kind, clusterIP="None"),
            'spec.clusterIPs[0]: Invalid value: "None": '
            f"may not be set to 'None' for {kind} services",
        )
        for rule, kind in (("V-026", "LoadBalancer"), ("V-027", "NodePort"))
    ),
    ("V-028", svc(**EN), "spec.externalName: Required value"),
    *(
        ("V-029", svc(externalName=n, **EN), f'spec.externalName: Invalid value: "{n}": <SD>')
        for n in ("-bad-", "Foo.com")
    ),
    (
        "V-031",
        svc(externalName="a.b", clusterIP="10.96.5.5", **EN),
        "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
    ),
    (
        "V-032",
        svc(externalName="a.b", ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack", **EN),
        "[spec.ipFamilies: Forbidden: may not be set for ExternalName services, "
        "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services]",
    ),
    ("V-035", svc(clusterIP="foo"), 'spec.clusterIPs[0]: Invalid value: "foo": <IP>'),
    *(
        (
            "V-036",
            svc(clusterIP=ip),
            f'spec.clusterIPs: Invalid value: ["{ip}"]: failed to allocate IP {ip}: '
            "the provided network does not match the current range",
        )
        for ip in ("10.97.0.1", "10.96.0.0", "10.96.255.255")
    ),
    (
        "V-037",
        svc(clusterIP="10.96.0.1"),
        'spec.clusterIPs: Invalid value: ["10.96.0.1"]: failed to allocate IP 10.96.0.1: '
        "provided IP is already allocated",
    ),
    (
        "V-038",
        svc(clusterIP="010.096.000.050"),
        'spec.clusterIPs[0]: Invalid value: "010.096.000.050": must not have leading 0s',
    ),
    (
        "V-039",
        svc(clusterIP="::ffff:10.96.0.50"),
        'spec.clusterIPs[0]: Invalid value: "::ffff:10.96.0.50": '
        "must not be an IPv4-mapped IPv6 address",
    ),
    (
        "V-040",
        svc(clusterIP="10.96.0.50", clusterIPs=["10.96.0.51"]),
        'spec.clusterIPs: Invalid value: ["10.96.0.51"]: first value must match `clusterIP`',
    ),
    (
        "V-041",
        svc(clusterIPs=["10.96.0.51"]),
        'spec.clusterIPs: Invalid value: ["10.96.0.51"]: '
        "must be empty when `clusterIP` is not specified",
    ),
    (
        "V-042",
        svc(clusterIP="10.96.0.50", clusterIPs=["10.96.0.50", "fd00:10:96::5", "fd00:10:96::6"]),
        'spec.clusterIPs: Invalid value: ["10.96.0.50","fd00:10:96::5","fd00:10:96::6"]: '
        "may only hold up to 2 values",
    ),
    (
        "V-043",
        svc(clusterIP="10.96.0.50", clusterIPs=["10.96.0.50", "10.96.0.51"]),
        'spec.clusterIPs: Invalid value: ["10.96.0.50","10.96.0.51"]: '
        "may specify no more than one IP for each IP family",
    ),
    (
        "V-044",
        svc(clusterIP="None", clusterIPs=["None", "10.96.0.51"]),
        'spec.clusterIPs: Invalid value: ["None","10.96.0.51"]: '
        "'None' must be the first and only value",
    ),
    (
        "V-045",
        svc(clusterIP="10.96.0.50", ipFamilies=["IPv6"]),
        'spec.clusterIPs[0]: Invalid value: "10.96.0.50": '
        "expected an IPv6 value as indicated by `ipFamilies[0]`",
    ),
    (
        "V-046",
        svc(ipFamilies=["IPv5"]),
        'spec.ipFamilies[0]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"',
    ),
    ("V-047", svc(ipFamilies=["IPv4", "IPv4"]), 'spec.ipFamilies[1]: Duplicate value: "IPv4"'),
    (
        "V-048",
        svc(ipFamilies=["IPv4", "IPv6"], ipFamilyPolicy="SingleStack"),
        "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or "
        "'PreferDualStack' when multiple IP families are specified",
    ),
    (
        "V-049",
        svc(
            clusterIP="10.96.0.50",
            clusterIPs=["10.96.0.50", "fd00:10:96::50"],
            ipFamilyPolicy="SingleStack",
        ),
        "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or "
        "'PreferDualStack' when multiple cluster IPs are specified",
    ),
    (
        "V-050",
        svc(ipFamilyPolicy="Dual"),
        'spec.ipFamilyPolicy: Unsupported value: "Dual": '
        'supported values: "PreferDualStack", "RequireDualStack", "SingleStack"',
    ),
    (
        "V-051",
        svc(sessionAffinity="Cookie"),
        'spec.sessionAffinity: Unsupported value: "Cookie": supported values: "ClientIP", "None"',
    ),
    *(
        (
            "V-052",
            svc(
                sessionAffinity="ClientIP",
                sessionAffinityConfig={"clientIP": {"timeoutSeconds": seconds}},
            ),
            f"spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: {seconds}: "
            "must be greater than 0 and less than 86400",
        )
        for seconds in (0, 86401)
    ),
    *(
        (rule, svc(externalIPs=[ip]), f'spec.externalIPs[0]: Invalid value: "{ip}": {text}')
        for rule, ip, text in (
            ("V-054", "foo", "<IP>"),
            ("V-055", "127.0.0.1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
            ("V-056", "0.0.0.0", "may not be unspecified (0.0.0.0)"),
            (
                "V-057",
                "169.254.1.1",
                "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
            ),
            (
                "V-058",
                "224.0.0.1",
                "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
            ),
        )
    ),
    (
        "V-060",
        svc(externalTrafficPolicy="Local"),
        'spec.externalTrafficPolicy: Invalid value: "Local": '
        "may only be set for externally-accessible services",
    ),
    (
        "V-062",
        svc(externalTrafficPolicy="Foo", **NP),
        'spec.externalTrafficPolicy: Unsupported value: "Foo": '
        'supported values: "Cluster", "Local"',
    ),
    (
        "V-063",
        svc(internalTrafficPolicy="Foo"),
        'spec.internalTrafficPolicy: Unsupported value: "Foo": '
        'supported values: "Cluster", "Local"',
    ),
    *(
        (
            "V-064",
            svc(healthCheckNodePort=30090, **spec),
            "spec.healthCheckNodePort: Invalid value: 30090: may only be set when `type` is "
            "'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        )
        for spec in (NP, LB)
    ),
    *(
        (
            rule,
            svc(externalTrafficPolicy="Local", healthCheckNodePort=number, **LB),
            "Internal error occurred: failed to allocate requested HealthCheck NodePort "
            f"{number}: provided port is {why}",
        )
        for rule, number, why in (
            ("V-065", 80, "not in the valid range. The range of valid ports is 30000-32767"),
            ("V-066", 30081, "already allocated"),
        )
    ),
    (
        "V-067",
        ports(
            {"port": 80, "nodePort": 30099},
            externalTrafficPolicy="Local",
            healthCheckNodePort=30099,
            **LB,
        ),
        "Internal error occurred: failed to allocate requested HealthCheck NodePort 30099: "
        "provided port is already allocated",
    ),
    (
        "V-068",
        svc(loadBalancerSourceRanges=["10.0.0.0/8"]),
        f"spec.LoadBalancerSourceRanges: Forbidden: {BALANCER}",
    ),
    (
        "V-069",
        svc(loadBalancerSourceRanges=["foo"], **LB),
        'spec.LoadBalancerSourceRanges[0]: Invalid value: "foo": <CIDR>',
    ),
    (
        "V-070",
        svc(loadBalancerSourceRanges=["10.0.0.1/8"], **LB),
        'spec.LoadBalancerSourceRanges[0]: Invalid value: "10.0.0.1/8": '
        "must not have bits set beyond the prefix length",
    ),
    (
        "V-072",
        svc(meta=annotated(**{RANGES: "10.0.0.0/8"})),
        f"metadata.annotations[{RANGES}]: Forbidden: {BALANCER}",
    ),
    (
        "V-073",
        svc(meta=annotated(**{RANGES: "x"}), **LB),
        f'metadata.annotations[{RANGES}]: Invalid value: "x": <CIDR>',
    ),
    (
        "V-074",
        svc(allocateLoadBalancerNodePorts=True, **NP),
        f"spec.allocateLoadBalancerNodePorts: Forbidden: {BALANCER}",
    ),
    ("V-075", svc(loadBalancerClass="x/y"), f"spec.loadBalancerClass: Forbidden: {BALANCER}"),
    (
        "V-076",
        svc(loadBalancerClass="a b", **LB),
        'spec.loadBalancerClass: Invalid value: "a b": <Q>',
    ),
    (
        "V-077",
        svc(trafficDistribution="PreferZone"),
        'spec.trafficDistribution: Unsupported value: "PreferZone": '
        'supported values: "PreferClose", "PreferSameZone", "PreferSameNode"',
    ),
    ("V-079", svc(selector={"a b": "c"}), 'spec.selector: Invalid value: "a b": <Q>'),
    (
        "V-080",
        svc(selector={"a": "c d"}),
        'spec.selector: Invalid value: "c d": a valid label must be an empty string or consist of '
        "alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
        "character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
        "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
    ),
    (
        "V-081",
        svc(meta={"annotations": TOPOLOGY}),
        "metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: "
        '"Auto": must match annotations[service.kubernetes.io/topology-aware-hints] '
        "when both are specified",
    ),
    (
        "V-084",
        ports({"port": "http"}),
        'Service in version "v1" cannot be handled as a Service: json: cannot unmarshal string '
        "into Go struct field ServicePort.spec.ports.port of type int32",
    ),
    (
        "V-088",
        svc("Foo", ports=[{"port": 0}], sessionAffinity="Cookie"),
        '[metadata.name: Invalid value: "Foo": <L>, '
        "spec.ports[0].port: Invalid value: 0: <P>, "
        "spec.ports[0].targetPort: Invalid value: 0: <P>, "
        'spec.sessionAffinity: Unsupported value: "Cookie": supported values: "ClientIP", "None"]',
    ),
    (
        "V-089",
        svc("Foo", ports=[{"port": 80, "nodePort": 80}], **NP),
        "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. "
        "The range of valid ports is 30000-32767",
    ),
]


@pytest.mark.parametrize(("rule", "given", "expected"), REFUSED, ids=[r[0] for r in REFUSED])
def test_service_is_refused(rule: str, given: Document, expected: str) -> None:
    assert answer(given) == full(expected)


ACCEPTED: list[tuple[str, Document, list[str]]] = [
    ("V-004", svc("1abc"), []),
    ("V-006", svc(ports=[], clusterIP="None"), []),
    ("V-006", svc(ports=[], externalName="a.b", **EN), []),
    ("V-012", ports({"port": 80, "name": "a"}, {"port": 80, "name": "b", "protocol": "UDP"}), []),
    (
        "V-024",
        ports(
            {"port": 80, "name": "a", "nodePort": 30080},
            {"port": 80, "name": "b", "nodePort": 30080, "protocol": "UDP"},
            **NP,
        ),
        [],
    ),
    ("V-030", svc(externalName="1.2.3.4", **EN), []),
    ("V-030", svc(externalName="a.b.", **EN), []),
    (
        "V-033",
        svc(externalName="a.b"),
        ['spec.externalName is ignored when spec.type is not "ExternalName"'],
    ),
    (
        "V-034",
        svc(
            clusterIP="None",
            loadBalancerIP="192.0.2.1",
            externalIPs=["192.0.2.2"],
            sessionAffinity="ClientIP",
        ),
        [
            "spec.loadBalancerIP is ignored for headless services",
            "spec.externalIPs is ignored for headless services",
            "spec.SessionAffinity is ignored for headless services",
        ],
    ),
    (
        "V-059",
        svc(externalIPs=["198.51.100.7"]),
        ["spec.externalIPs is deprecated and may no longer be implemented in some clusters"],
    ),
    ("V-071", svc(loadBalancerSourceRanges=[" 10.0.0.0/8 "], **LB), []),
    (
        "V-078",
        svc(trafficDistribution="PreferClose"),
        ['spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'],
    ),
    ("V-082", svc(fooBar=1), ['unknown field "spec.fooBar"']),
]


@pytest.mark.parametrize(("rule", "given", "warnings"), ACCEPTED, ids=[r[0] for r in ACCEPTED])
def test_service_is_accepted(rule: str, given: Document, warnings: list[str]) -> None:
    assert list(create(given)[1]) == warnings


def test_longest_affinity_timeout_is_a_day() -> None:
    given = svc(
        sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 86400}}
    )
    assert answer(given) == ""


def test_affinity_config_goes_when_there_is_no_affinity() -> None:
    given = svc(sessionAffinityConfig={"clientIP": {"timeoutSeconds": 5}})
    assert "sessionAffinityConfig" not in create(given)[0]["spec"]


def test_traffic_policy_is_for_external_ips_too() -> None:
    stored, _ = create(svc(externalIPs=["198.51.100.7"], externalTrafficPolicy="Local"))
    assert stored["spec"]["externalTrafficPolicy"] == "Local"


def test_unknown_field_is_refused_when_strict_and_dropped_otherwise() -> None:
    with pytest.raises(StatusError) as refused:
        create(svc(fooBar=1), field_validation="Strict")
    assert (refused.value.code, refused.value.message) == (
        400,
        'Service in version "v1" cannot be handled as a Service: '
        'strict decoding error: unknown field "spec.fooBar"',
    )
    stored, warnings = create(svc(fooBar=1), field_validation="Ignore")
    assert (warnings, "fooBar" in stored["spec"]) == ((), False)


def test_ports_of_one_number_share_a_node_port() -> None:
    given = ports({"port": 53, "name": "a"}, {"port": 53, "name": "b", "protocol": "UDP"}, **NP)
    first, second = create(given)[0]["spec"]["ports"]
    assert first["nodePort"] == second["nodePort"]


def test_health_check_port_conflict_frees_what_was_taken() -> None:
    made = admission()
    held = made.addresses.held(), made.ports.held()
    given = svc(externalTrafficPolicy="Local", healthCheckNodePort=30081, **LB)
    with pytest.raises(StatusError) as refused:
        create(given, admission=made)
    assert refused.value.code == 500
    assert (made.addresses.held(), made.ports.held()) == held


def test_selectorless_headless_service_is_dual_stack() -> None:
    spec = create(svc(clusterIP="None"))[0]["spec"]
    assert (spec["ipFamilyPolicy"], spec["ipFamilies"]) == ("RequireDualStack", ["IPv4", "IPv6"])


def test_prefer_dual_stack_gets_an_address_of_each_family() -> None:
    spec = create(svc(ipFamilyPolicy="PreferDualStack", ipFamilies=["IPv6"]))[0]["spec"]
    assert spec["ipFamilies"] == ["IPv6", "IPv4"]
    assert ":" in spec["clusterIPs"][0]
    assert "." in spec["clusterIPs"][1]
    assert spec["clusterIP"] == spec["clusterIPs"][0]


def test_dry_run_shows_placeholders_and_takes_nothing() -> None:
    made = admission()
    held = made.addresses.held(), made.ports.held()
    spec = create(svc(**NP), admission=made, dry_run=True)[0]["spec"]
    assert (spec["clusterIP"], spec["ports"][0]["nodePort"]) == ("10.96.0.0", 32769)
    given = ports({"port": 80, "nodePort": 80}, **NP)
    assert create(given, admission=made, dry_run=True)[0]["spec"]["ports"][0]["nodePort"] == 80
    assert (made.addresses.held(), made.ports.held()) == held


def test_dry_run_refuses_a_port_twice_in_one_service() -> None:
    given = ports(
        {"port": 80, "name": "a", "nodePort": 30080},
        {"port": 81, "name": "b", "nodePort": 30080},
        **NP,
    )
    words = "spec.ports[1].nodePort: Invalid value: 30080: provided port is already allocated"
    assert answer(given, dry_run=True) == words


def test_full_range_is_an_internal_error() -> None:
    made = admission()
    made.addresses.set_range("kubernetes", [])
    with pytest.raises(StatusError) as refused:
        create(svc("x"), admission=made)
    assert (refused.value.code, refused.value.message) == (
        500,
        'Internal error occurred: failed to allocate a serviceIP for Service "x": range is full',
    )
    words = 'spec.clusterIPs: Invalid value: [""]: failed to allocate IP: allocator not ready'
    assert answer(svc("x"), admission=made, dry_run=True) == words


def test_an_external_name_has_no_internal_traffic_policy() -> None:
    stored, _ = create(svc(type="ExternalName", externalName="a.b", internalTrafficPolicy="Local"))
    assert "internalTrafficPolicy" not in stored["spec"]
    wrong = svc(type="ExternalName", externalName="a.b", internalTrafficPolicy="Node")
    assert answer(wrong).startswith('spec.internalTrafficPolicy: Unsupported value: "Node"')

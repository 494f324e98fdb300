from __future__ import annotations

from typing import Any

import pytest

from testbed.dns.resolv import ResolvConf, hostname_of, hosts_file, resolv_conf

NODE = ResolvConf(("203.0.113.53",), ("example.net",), ("timeout:2",))
DNS = ("10.96.0.10",)


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web-0", "namespace": "ns"}, "spec": spec}


def test_default_is_the_cluster_dns_with_its_three_domains() -> None:
    conf = resolv_conf(pod(), DNS, ResolvConf(("203.0.113.53",)))
    assert conf.text == (
        "search ns.svc.cluster.local svc.cluster.local cluster.local\n"
        "nameserver 10.96.0.10\n"
        "options ndots:5\n"
    )


def test_nodes_search_domains_follow_the_clusters() -> None:
    assert resolv_conf(pod(), DNS, NODE).searches[-2:] == ("cluster.local", "example.net")


@pytest.mark.parametrize(
    ("spec", "cluster"),
    [
        ({}, True),
        ({"hostNetwork": True}, False),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirst"}, False),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}, True),
        ({"dnsPolicy": "Default"}, False),
    ],
)
def test_policy_and_host_network_decide_whose_dns(spec: dict[str, Any], cluster: bool) -> None:
    conf = resolv_conf(pod(**spec), DNS, NODE)
    assert (conf.nameservers == DNS) == cluster
    assert cluster or conf == NODE


def test_without_a_cluster_dns_the_nodes_is_used() -> None:
    assert resolv_conf(pod(), (), NODE) == NODE


def test_policy_none_takes_the_config_alone() -> None:
    config = {
        "nameservers": ["1.1.1.1"],
        "searches": ["resolv.conf.local"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }
    conf = resolv_conf(pod(dnsPolicy="None", dnsConfig=config), DNS, NODE)
    assert conf.text == "search resolv.conf.local\nnameserver 1.1.1.1\noptions ndots:2 edns0\n"


def test_config_adds_to_the_policy_and_its_options_win() -> None:
    config = {
        "nameservers": ["10.96.0.10", "1.1.1.1"],
        "searches": ["svc.cluster.local", "extra.example"],
        "options": [{"name": "ndots", "value": "2"}],
    }
    conf = resolv_conf(pod(dnsConfig=config), DNS, ResolvConf(()))
    assert conf.nameservers == ("10.96.0.10", "1.1.1.1")
    assert conf.searches == (
        "ns.svc.cluster.local",
        "svc.cluster.local",
        "cluster.local",
        "extra.example",
    )
    assert conf.options == ("ndots:2",)
    assert conf.omitted == ()


def test_what_exceeds_the_limits_is_left_out_and_told() -> None:
    config = {
        "nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3"],
        "searches": ["a" * 254, *(f"s{n}.example" for n in range(40))],
    }
    conf = resolv_conf(pod(dnsConfig=config), DNS, ResolvConf(()))
    assert conf.nameservers == ("10.96.0.10", "1.1.1.1", "2.2.2.2")
    assert len(conf.searches) == 31
    assert [message.split(",")[0] for message in conf.omitted] == [
        "Nameserver limits were exceeded",
        "Search Line limits were exceeded",
    ]
    assert conf.omitted[1].endswith(f"the applied search line is: {' '.join(conf.searches)}")


def test_long_search_lines_are_cut_at_a_domain() -> None:
    searches = [f"{n}{'x' * 200}" for n in range(12)]
    conf = resolv_conf(pod(dnsPolicy="None", dnsConfig={"searches": searches}), DNS, NODE)
    assert conf.searches == tuple(searches[:10])


def test_hosts_file_names_the_pod_by_hostname_and_subdomain() -> None:
    text = hosts_file(pod(hostname="db", subdomain="pets"), ["10.244.1.5", "fd00::5"])
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert text.endswith(
        "10.244.1.5\tdb.pets.ns.svc.cluster.local\tdb\nfd00::5\tdb.pets.ns.svc.cluster.local\tdb\n"
    )
    assert hosts_file(pod(), ["10.244.1.5"]).endswith("\n10.244.1.5\tweb-0\n")


def test_host_aliases_are_entries_of_their_own() -> None:
    aliases = [{"ip": "192.0.2.1", "hostnames": ["a.example", "b.example"]}]
    ending = "\n\n# Entries added by HostAliases.\n192.0.2.1\ta.example\tb.example\n"
    assert hosts_file(pod(hostAliases=aliases), ["10.244.1.5"]).endswith(ending)
    shared = hosts_file(pod(hostNetwork=True, hostAliases=aliases), [], "127.0.0.1\tlocalhost\n")
    assert shared == (
        "# Kubernetes-managed hosts file (host network).\n127.0.0.1\tlocalhost\n" + ending[1:]
    )


def test_long_pod_names_make_short_hostnames() -> None:
    long = {"metadata": {"name": "a" * 62 + "-" + "b" * 9}, "spec": {}}
    assert hostname_of(long) == ("a" * 62, "")
    assert hostname_of(pod(hostnameOverride="other", subdomain="x")) == ("other", "")

"""What an external proxy is given."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import UsageError
from testbed.lab.options import LabOptions
from testbed.proxy.config import KubeProxyConfiguration
from testbed.proxy.external.configuration import (
    NodeProxy,
    check_command,
    command_line,
    configuration,
    own_configuration,
)

PROXY = NodeProxy(
    "w1", "nftables", ("10.244.0.0/16", "fd00:1::/64"), Path("/run/a b/kubeconfig"), Path("/run/w1")
)


def test_the_configuration_is_one_that_kube_proxy_reads() -> None:
    document = configuration(PROXY)
    read = KubeProxyConfiguration.from_document(document, "config.yaml")
    assert (read.mode, read.cluster_cidr) == ("nftables", PROXY.cluster_cidrs)
    assert document["hostnameOverride"] == "w1"
    assert document["clientConnection"]["kubeconfig"] == "/run/a b/kubeconfig"


def test_only_the_mode_that_is_asked_for_has_a_section() -> None:
    assert "iptables" not in configuration(PROXY)
    assert configuration(replace(PROXY, mode="iptables"))["iptables"]["minSyncPeriod"] == "10ms"


def test_the_limits_of_the_host_are_left_alone() -> None:
    read = KubeProxyConfiguration.from_document(configuration(PROXY), "config.yaml")
    assert (read.conntrack.max_per_core, read.conntrack.min) == (0, 0)


def test_placeholders_become_one_word_each() -> None:
    words = command_line("proxy --kubeconfig={kubeconfig} -v '{node} in {mode}' {config}", PROXY)
    assert words == [
        "proxy",
        "--kubeconfig=/run/a b/kubeconfig",
        "-v",
        "w1 in nftables",
        "/run/w1/config.yaml",
    ]


def test_the_users_fields_stand_over_ours_but_not_over_the_labs() -> None:
    own = {
        "kind": "KubeProxyConfiguration",
        "mode": "ipvs",
        "hostnameOverride": "elsewhere",
        "clusterCIDR": "10.244.0.0/16",
        "metricsBindAddress": "",
        "clientConnection": {"kubeconfig": "/var/lib/kube-proxy/kubeconfig.conf", "qps": 50},
        "conntrack": {"maxPerCore": None, "tcpEstablishedTimeout": "1h"},
        "nftables": {"masqueradeAll": True},
        "featureGates": {"TopologyAwareHints": True},
    }
    document = configuration(replace(PROXY, own=own))
    assert (document["mode"], document["hostnameOverride"]) == ("nftables", "w1")
    assert document["clusterCIDR"] == "10.244.0.0/16"
    assert document["metricsBindAddress"] == "127.0.0.1:10249"
    assert document["clientConnection"] == {"kubeconfig": "/run/a b/kubeconfig", "qps": 50}
    assert document["conntrack"] == {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "1h"}
    assert document["nftables"]["masqueradeAll"] is True
    assert document["nftables"]["minSyncPeriod"] == "10ms"
    assert document["featureGates"] == {"TopologyAwareHints": True}


def test_kubeadms_configmap_is_read_too() -> None:
    plain = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "nodePortAddresses": ["primary"],
    }
    boxed = {"kind": "ConfigMap", "data": {"config.conf": json.dumps(plain)}}
    assert own_configuration([boxed], "f") == own_configuration([plain], "f") == plain


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([], "f: 0 objects"),
        ([{"kind": "Pod"}], "f: kind is Pod"),
        (
            [{"kind": "ConfigMap", "data": {"config.conf": "{apiVersion: v1, kind: Pod}"}}],
            r"f: config\.conf: kind",
        ),
    ],
)
def test_a_file_that_has_no_configuration_is_refused(
    documents: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        own_configuration(documents, "f")


def test_a_configuration_without_a_command_is_refused() -> None:
    with pytest.raises(UsageError, match="needs a proxy command"):
        LabOptions(proxy_config={"kind": "KubeProxyConfiguration"})


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("kube-proxy {conf}", "{config}"),
        ("kube-proxy '{config}", "quotation"),
        ("kube-proxy {", "proxy-command"),
        ("  ", "no program"),
    ],
)
def test_a_command_that_cannot_be_one_is_refused_at_once(command: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_command(command)


def test_a_lab_without_an_api_server_has_no_external_proxy() -> None:
    with pytest.raises(UsageError, match="api"):
        LabOptions(proxy_command="kube-proxy")

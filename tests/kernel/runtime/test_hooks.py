"""gRPC probes, postStart hooks and node Leases, as they really run."""

from __future__ import annotations

import socket

import pytest

from testbed.cluster import Cluster
from testbed.runtime.sandbox import namespace_name
from tests.health_server import HealthServer, answer
from tests.kernel.runtime.conftest import Kubectl
from tests.kernel.runtime.test_pods import address, pod, until
from tests.kernel.runtime.test_volumes import sh

pytestmark = pytest.mark.kernel


def test_a_grpc_probe_asks_the_pod_from_its_node(lab: Cluster) -> None:
    probe = "readinessProbe: {grpc: {port: 9000, service: db}, failureThreshold: 1}"
    lab.apply(pod("health", f"image: anything\n{probe}"))
    assert not lab.pods("health")[0].ready
    place = lab.fabric.namespace(namespace_name(("default", "health")))
    listener = place.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((address(lab, "health"), 9000))
    server = HealthServer(listener)
    lab.advance(10)
    assert lab.pods("health")[0].ready
    assert server.asked[0] == b"\0\0\0\0\x04\x0a\x02db"
    server.data = answer(2)
    lab.advance(10)
    assert not lab.pods("health")[0].ready
    server.close()
    told = [event["message"] for event in lab.core.control.store.list("events", "default")]
    assert 'Readiness probe failed: service unhealthy (responded with "NOT_SERVING")' in told
    lab.delete(pod("health"))


def test_a_post_start_hook_runs_in_the_container_before_it_counts_as_running(
    kubectl: Kubectl,
) -> None:
    container = """\
    image: busybox
    command: [sleep, "1000"]
    lifecycle: {postStart: {exec: {command: [sh, -c, "echo $HOSTNAME > /greeting"]}}}
    """
    kubectl("apply", "-f", "-", input=pod("greeter", container))
    assert until(lambda: "Running" in kubectl("get", "pod", "greeter").stdout)
    assert sh(kubectl, "cat /greeting", name="greeter") == "greeter\n"
    kubectl("delete", "pod", "greeter", "--force")


def test_a_failed_post_start_hook_kills_the_container(kubectl: Kubectl) -> None:
    container = """\
    image: busybox
    command: [sh, -c, "trap 'exit 3' TERM; while :; do sleep 0.1; done"]
    lifecycle: {postStart: {exec: {command: ["false"]}}}
    """
    kubectl("apply", "-f", "-", input=pod("hooked", container))

    def told() -> str:
        return kubectl("describe", "pod", "hooked").stdout

    assert until(lambda: "CrashLoopBackOff" in told()), told()
    assert "FailedPostStartHook  " in told()
    assert "PostStartHook failed" in told()
    kubectl("delete", "pod", "hooked", "--force")


def test_kubectl_shows_the_leases_of_nodes(lab: Cluster, kubectl: Kubectl) -> None:
    listed = kubectl("get", "leases", "-n", "kube-node-lease", "--no-headers").stdout
    assert [line.split()[:2] for line in listed.splitlines()] == [
        ["w1", "w1"],
        ["w2", "w2"],
        ["w3", "w3"],
    ]
    told = kubectl("describe", "node", "w1").stdout
    assert "Lease:\n  HolderIdentity:  w1\n  AcquireTime:     <unset>\n  RenewTime:" in told
    before = renewed(kubectl)
    lab.advance(20)
    assert renewed(kubectl) > before


def renewed(kubectl: Kubectl) -> str:
    words = "get lease w1 -n kube-node-lease -o jsonpath={.spec.renewTime}"
    return kubectl(*words.split()).stdout


def test_kubectl_debug_sees_the_network_and_the_processes_of_its_target(
    lab: Cluster, kubectl: Kubectl
) -> None:
    container = 'image: busybox\ncommand: [sleep, "4242"]'
    kubectl("apply", "-f", "-", input=pod("ill", container))
    assert until(lambda: "Running" in kubectl("get", "pod", "ill").stdout)
    debug = ["debug", "ill", "--profile=general", "--image=nicolaka/netshoot"]
    script = "ps ax; ip -4 -br addr show dev eth0; hostname"
    done = kubectl(*debug, "--target=c", "-c", "d", "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert until(lambda: "ill" in kubectl("logs", "ill", "-c", "d").stdout.splitlines())
    seen = kubectl("logs", "ill", "-c", "d").stdout
    assert "sleep 4242" in seen
    assert address(lab, "ill") in seen
    assert "Completed" in kubectl("describe", "pod", "ill").stdout
    assert lab.pods("ill")[0].ready
    words = "patch pod ill --subresource=ephemeralcontainers --type=merge -p"
    refused = kubectl(*words.split(), '{"spec": {"ephemeralContainers": []}}').stderr
    assert 'existing ephemeral containers "d" may not be removed' in refused
    kubectl("delete", "pod", "ill", "--force")

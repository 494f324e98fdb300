"""Pods as they really run: programs, probes, hostPorts, files; and kubectl's streams to them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import termios
import textwrap
import time
from collections.abc import Callable

import pytest

from testbed.cluster import Cluster
from testbed.naming import run_directory
from testbed.runtime.sandbox import namespace_name
from tests.kernel.runtime.conftest import Kubectl

pytestmark = pytest.mark.kernel


def pod(name: str, container: str = "", spec: str = "") -> str:
    """A Pod manifest; `container` are lines of its container, `spec` of its spec."""
    head = (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec:\n"
    )
    body = textwrap.indent(textwrap.dedent(spec), "  ")
    lines = textwrap.indent(textwrap.dedent(container), "    ")
    return f"{head}{body}\n  containers:\n  - name: c\n{lines}\n"


def until(holds: Callable[[], bool], seconds: float = 5) -> bool:
    """Whether it comes to hold within so many seconds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def ask(lab: Cluster, place: str, host: str, port: int, request: bytes) -> bytes:
    """Send `request` over TCP from a namespace; everything that comes back."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with lab.fabric.namespace(place).socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(2)
        sock.connect((host, port))
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        found = b""
        while piece := sock.recv(4096):
            found += piece
        return found


HOSTNAME = b"GET /hostname HTTP/1.0\r\n\r\n"


def address(lab: Cluster, name: str) -> str:
    return next(p for p in lab.pods(name) if p.key.name == name).ips[0]


def test_the_redis_image_is_the_redis_of_this_machine(lab: Cluster) -> None:
    lab.apply(pod("redis", "image: docker.io/library/redis:7-alpine"))
    place = namespace_name(("default", "redis"))

    def answers() -> bool:
        try:
            return ask(lab, "w1", address(lab, "redis"), 6379, b"PING\r\n") == b"+PONG\r\n"
        except ConnectionRefusedError:
            return False

    assert until(answers), f"redis doesn't answer in {place}"
    lab.delete(pod("redis"))
    assert until(lambda: not lab.pods("redis"))


def test_nginx_serves_and_leaves_no_trace_on_the_host(lab: Cluster) -> None:
    probe = "readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}"
    lab.apply(pod("nginx", f"image: nginx:1.27\n{probe}"))
    assert until(lambda: lab.pods("nginx")[0].ready)
    assert b"200 OK" in ask(lab, "w2", address(lab, "nginx"), 80, b"GET / HTTP/1.0\r\n\r\n")


def test_a_pod_is_ready_when_its_probe_has_succeeded_once_apply_returns(lab: Cluster) -> None:
    probe = (
        "readinessProbe: {httpGet: {path: /healthz, port: 8080}}\nports: [{containerPort: 8080}]"
    )
    lab.apply(pod("probed", f"image: anything\n{probe}"))
    assert lab.pods("probed")[0].ready
    lab.apply(pod("unready", f"image: anything\n{probe}".replace("port: 8080}}", "port: 8081}}")))
    assert not lab.pods("unready")[0].ready


def test_readiness_follows_the_annotation_on_the_labs_clock(lab: Cluster) -> None:
    probe = "readinessProbe: {httpGet: {path: /healthz, port: 8080}, failureThreshold: 2}"
    manifest = pod("moody", f"image: anything\nports: [{{containerPort: 8080}}]\n{probe}")
    lab.apply(manifest)
    lab.apply(manifest.replace("labels:", 'annotations: {testbed/healthy: "false"}, labels:'))
    assert lab.pods("moody")[0].ready
    lab.advance(25)
    assert not lab.pods("moody")[0].ready


def test_a_failed_exec_liveness_probe_restarts_the_program(lab: Cluster) -> None:
    container = """\
    image: busybox
    command: [sleep, "1000"]
    livenessProbe:
      exec: {command: ["false"]}
      failureThreshold: 1
      terminationGracePeriodSeconds: 1
    """
    lab.apply(pod("dying", container))
    lab.advance(5)

    def restarted() -> bool:
        status = lab.get("pods", "dying")["status"]["containerStatuses"][0]
        return bool(status["restartCount"] >= 1)

    assert until(restarted, 8), lab.get("pods", "dying")["status"]
    lab.delete(pod("dying"))


def test_one_host_port_serves_three_pods_by_address_and_protocol(lab: Cluster) -> None:
    """The e2e test of hostPort: same number, different hostIP and protocol."""
    node = lab.node_addresses("w1")[0]
    wanted = {"pod1": ("127.0.0.1", "TCP"), "pod2": (node, "TCP"), "pod3": (node, "UDP")}
    for name, (host_ip, protocol) in wanted.items():
        port = f"{{containerPort: 8080, hostPort: 54323, hostIP: {host_ip}, protocol: {protocol}}}"
        lab.apply(pod(name, f"image: agnhost\nports: [{port}]", "nodeName: w1"))
    assert b"pod1" in ask(lab, "w1", "127.0.0.1", 54323, HOSTNAME)
    for place in ("w1", "w2", "client", namespace_name(("default", "pod2"))):
        assert b"pod2" in ask(lab, place, node, 54323, HOSTNAME), place
    with lab.fabric.namespace("w2").socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.sendto(b"hostname", (node, 54323))
        assert sock.recv(100) == b"pod3"
    for name in wanted:
        lab.delete(pod(name))
    with pytest.raises(ConnectionRefusedError):
        ask(lab, "w2", node, 54323, HOSTNAME)


def test_the_echo_application_answers_as_agnhost(lab: Cluster) -> None:
    args = 'args: ["netexec", "--http-port=8083", "--udp-port=8081"]'
    lab.apply(pod("agn", f"image: registry.k8s.io/e2e-test-images/agnhost:2.53\n{args}"))
    where = address(lab, "agn")
    assert ask(lab, "w1", where, 8083, HOSTNAME).endswith(b"agn")
    assert ask(lab, "w1", where, 8083, b"GET /echo?msg=hello%20you HTTP/1.0\r\n\r\n").endswith(
        b"hello you"
    )
    with lab.fabric.namespace("w1").socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.sendto(b"echo hello", (where, 8081))
        assert sock.recv(100) == b"hello"


def test_an_image_whose_program_is_not_installed_says_what_to_install(
    lab: Cluster, kubectl: Kubectl
) -> None:
    lab.apply(pod("missing", "image: valkey:8"))
    listed = kubectl("get", "pods", "missing", "--no-headers").stdout.split()
    assert listed[1:4] == ["0/1", "ImagePullBackOff", "0"]
    described = kubectl("describe", "pod", "missing").stdout
    assert "apt-get install valkey-server" in described


def test_logs_follow_a_program_and_remember_the_run_before(lab: Cluster, kubectl: Kubectl) -> None:
    script = "echo one; echo two; sleep 0.3; exit 3"
    lab.apply(pod("talk", f"image: busybox\ncommand: [sh, -c, '{script}']"))
    followed = kubectl("logs", "-f", "talk")
    assert followed.stdout == "one\ntwo\n", followed.stderr
    assert until(lambda: "CrashLoopBackOff" in kubectl("get", "pods", "talk").stdout)
    assert kubectl("logs", "talk", "--tail=1").stdout == "two\n"
    assert kubectl("logs", "talk", "--previous").stdout == "one\ntwo\n"
    stamped = kubectl("logs", "talk", "--timestamps").stdout.splitlines()
    assert [line.split(" ", 1)[1] for line in stamped] == ["one", "two"]
    lab.delete(pod("talk"))


def test_exec_runs_in_the_pods_namespaces(lab: Cluster, kubectl: Kubectl) -> None:
    lab.apply(pod("box", "image: busybox\ncommand: [sleep, '1000']", "hostname: crate"))
    lab.apply(pod("echo", "image: anything"))
    for name, hostname in (("box", "crate"), ("echo", "echo")):
        done = kubectl(
            "exec",
            name,
            "--",
            "sh",
            "-c",
            "hostname; cat /etc/hostname /etc/hosts; ip -brief address",
        )
        assert done.stdout.startswith(f"{hostname}\n{hostname}\n"), done.stderr
        assert f"{address(lab, name)}\t{hostname}\n" in done.stdout
        assert f"{address(lab, name)}/" in done.stdout
    failed = kubectl("exec", "box", "--", "sh", "-c", "echo oops >&2; exit 7")
    assert (failed.returncode, failed.stderr.splitlines()[0]) == (7, "oops")
    piped = kubectl("exec", "-i", "echo", "--", "tr", "a-z", "A-Z", input="shout\n")
    assert piped.stdout == "SHOUT\n"
    assert kubectl("exec", "echo", "--", "no-such-program").returncode != 0
    without = kubectl("exec", "box", "--", "cat", input="not for it\n")
    assert (without.returncode, without.stdout) == (0, "")
    lab.delete(pod("box"))


def test_a_client_whose_program_does_not_read_holds_up_nobody(
    lab: Cluster, kubectl: Kubectl
) -> None:
    lab.apply(pod("deaf", "image: busybox\nstdin: true\ncommand: [sleep, '1000']"))
    config = str(run_directory(lab.name) / "kubeconfig")
    command = ["kubectl", "--kubeconfig", config, "attach", "-i", "deaf"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        process.stdin.write(bytes(300_000))
        process.stdin.flush()
        found = kubectl("get", "pod", "deaf", "-o", "jsonpath={.status.phase}")
        assert (found.returncode, found.stdout) == (0, "Running"), found.stderr
        process.kill()
    lab.delete(pod("deaf"))


def test_a_program_sees_its_environment(lab: Cluster, kubectl: Kubectl) -> None:
    container = """\
    image: busybox
    command: [sleep, "1000"]
    env:
    - {name: WHO, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: SAY, value: "I am $(WHO)"}
    """
    lab.apply(pod("env", container))
    found = kubectl("exec", "env", "--", "sh", "-c", "echo $SAY; echo $KUBERNETES_SERVICE_HOST")
    assert found.stdout == f"I am {address(lab, 'env')}\n10.96.0.1\n"
    lab.delete(pod("env"))


def test_kubectl_run_attach_and_delete(lab: Cluster, kubectl: Kubectl) -> None:
    words = ("run", "-i", "--rm", "--restart=Never", "once", "--image=busybox")
    done = kubectl(*words, "--", "sh", "-c", "read line; echo got $line", input="this\n")
    assert "got this" in done.stdout, (done.stdout, done.stderr)
    assert not lab.pods("once")


def test_port_forward_reaches_a_pod(lab: Cluster, kubectl: Kubectl) -> None:
    lab.apply(pod("fwd", "image: anything\nports: [{containerPort: 8080}]"))
    config = str(kubectl("config", "view").args[2])
    command = ["kubectl", "--kubeconfig", config, "port-forward", "pod/fwd", ":8080"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().split("127.0.0.1:")[1].split(" ")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=2) as sock:
            sock.sendall(HOSTNAME)
            found = b""
            while piece := sock.recv(1000):
                found += piece
        process.terminate()
    assert found.endswith(b"fwd")


def on_terminal(lab: Cluster, words: list[str], typed: bytes) -> str:
    """What kubectl shows on a terminal where somebody types."""
    config = run_directory(lab.name) / "kubeconfig"
    ours, theirs = os.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    with subprocess.Popen(
        ["kubectl", "--kubeconfig", str(config), *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        os.set_blocking(ours, False)
        shown = b""
        end = time.monotonic() + 15
        while process.poll() is None and time.monotonic() < end:
            try:
                shown += os.read(ours, 65536)
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:
                break
            if typed and b"prompt" in shown:
                os.write(ours, typed)
                typed = b""
        process.kill()
    with contextlib.suppress(OSError):  # its last words
        shown += os.read(ours, 65536)
    os.close(ours)
    return shown.decode()


def test_a_shell_on_a_terminal_is_one_as_from_kubectl_run(lab: Cluster) -> None:
    words = ["run", "shell", "-it", "--rm", "--restart=Never", "--image=busybox", "--", "sh"]
    shown = on_terminal(lab, words, b"tty; stty size; echo $((6 * 7)) $HOSTNAME; exit\n")
    assert "/dev/pts/" in shown, shown
    assert "33 99" in shown, shown
    assert "42 shell" in shown, shown
    assert 'pod "shell" deleted' in shown, shown

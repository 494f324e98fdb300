"""Volumes in Pods, as kubectl and the programs see them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cluster import Cluster
from tests.kernel.runtime.conftest import Kubectl
from tests.kernel.runtime.test_pods import address, ask, until

pytestmark = pytest.mark.kernel

CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: config}
data: {color: red, run.sh: "#!/bin/sh\\necho started with $1 in $(pwd)\\nexec sleep 1000\\n"}
binaryData: {raw: AAEC}
---
apiVersion: v1
kind: Secret
metadata: {name: secret}
stringData: {password: hunter2}
"""
MAIN = """\
apiVersion: v1
kind: Pod
metadata:
  name: main
  labels: {app: main}
  annotations: {said: 'a"b'}
spec:
  containers:
  - name: c
    image: busybox
    workingDir: /work/deep
    command: [/scripts/run.sh, "$(GREETING)"]
    env:
    - {name: GREETING, value: hello}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: COLOR, valueFrom: {configMapKeyRef: {name: config, key: color}}}
    - {name: CPUS, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    - {name: REQUESTED, valueFrom: {resourceFieldRef: {resource: requests.memory, divisor: 1Mi}}}
    resources: {requests: {memory: 65Mi}}
    volumeMounts:
    - {name: config, mountPath: /etc/config}
    - {name: config, mountPath: /etc/pinned, subPath: color}
    - {name: scripts, mountPath: /scripts}
    - {name: secret, mountPath: /data/secret, readOnly: true}
    - {name: all, mountPath: /all}
    - {name: scratch, mountPath: /scratch}
    - {name: scratch, mountPath: /mine, subPathExpr: for-$(POD)}
  - name: other
    image: busybox
    command: [sleep, "1000"]
    volumeMounts:
    - {name: scratch, mountPath: /shared}
    - {name: scratch, mountPath: /frozen, readOnly: true}
  volumes:
  - {name: config, configMap: {name: config}}
  - name: scripts
    configMap: {name: config, defaultMode: 0755, items: [{key: run.sh, path: run.sh}]}
  - {name: secret, secret: {secretName: secret, defaultMode: 0400}}
  - {name: scratch, emptyDir: {}}
  - name: all
    projected:
      sources:
      - configMap: {name: config, items: [{key: color, path: some/where/color}]}
      - secret: {name: secret}
      - configMap: {name: nowhere, optional: true}
      - downwardAPI:
          items:
          - {path: labels, fieldRef: {fieldPath: metadata.labels}}
          - {path: said, fieldRef: {fieldPath: "metadata.annotations"}}
          - {path: cpu, resourceFieldRef: {containerName: c, resource: limits.cpu}}
"""


def pod(name: str, volume: str) -> str:
    """A Pod whose one volume is mounted at /data."""
    return f"""\
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  containers:
  - name: c
    image: busybox
    command: [sleep, "1000"]
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes: [{{name: data, {volume}}}]
"""


@pytest.fixture(scope="module")
def main(lab: Cluster, kubectl: Kubectl) -> Iterator[None]:
    done = kubectl("apply", "-f", "-", input=f"{CONFIG}---\n{MAIN}")
    assert done.returncode == 0, done.stderr
    done = kubectl("wait", "--for=condition=Ready", "pod/main", "--timeout=10s")
    assert done.returncode == 0, kubectl("describe", "pod", "main").stdout
    yield
    kubectl("delete", "pod", "main", "--force")


def sh(kubectl: Kubectl, script: str, container: str = "c", name: str = "main") -> str:
    done = kubectl("exec", name, "-c", container, "--", "sh", "-c", script)
    return done.stdout + done.stderr


@pytest.mark.usefixtures("main")
def test_files_are_where_the_mounts_say(kubectl: Kubectl) -> None:
    assert sh(kubectl, "cat /etc/config/color") == "red"
    assert sh(kubectl, "od -An -tx1 /etc/config/raw").split() == ["00", "01", "02"]
    assert sh(kubectl, "cat /data/secret/password") == "hunter2"
    assert sh(kubectl, "cat /all/some/where/color /all/password /all/cpu") == "redhunter24"
    assert sh(kubectl, "cat /all/labels") == 'app="main"'
    assert 'said="a\\"b"' in sh(kubectl, "cat /all/said").splitlines()
    assert sh(kubectl, "ls /all").split() == ["cpu", "labels", "password", "said", "some"]
    assert sh(kubectl, "stat -Lc %a /data/secret/password /scripts/run.sh").split() == [
        "400",
        "755",
    ]


@pytest.mark.usefixtures("main")
def test_a_program_of_a_volume_runs_with_its_arguments_in_a_directory_of_its_own(
    kubectl: Kubectl,
) -> None:
    said = kubectl("logs", "main", "-c", "c").stdout
    assert said == "started with hello in /work/deep\n"
    assert sh(kubectl, "pwd") == "/work/deep\n"


@pytest.mark.usefixtures("main")
def test_variables_come_from_fields_maps_and_resources(kubectl: Kubectl) -> None:
    assert sh(kubectl, "echo $POD $COLOR $CPUS $REQUESTED") == "main red 4 65\n"


@pytest.mark.usefixtures("main")
def test_an_empty_dir_is_shared_and_read_only_mounts_are(kubectl: Kubectl) -> None:
    sh(kubectl, "echo from c > /scratch/file; echo mine > /mine/note")
    assert sh(kubectl, "cat /shared/file /shared/for-main/note", "other") == "from c\nmine\n"
    assert "Read-only file system" in sh(kubectl, "touch /frozen/x", "other")
    assert "Read-only file system" in sh(kubectl, "touch /etc/config/x")


@pytest.mark.usefixtures("main")
def test_a_changed_map_reaches_the_mount_at_once_but_neither_sub_path_nor_variable(
    kubectl: Kubectl,
) -> None:
    before = sh(kubectl, "readlink /etc/config/..data")
    patch = '{"data": {"color": "blue", "more": "new", "run.sh": null}}'
    assert kubectl("patch", "configmap", "config", "-p", patch).returncode == 0
    assert until(lambda: sh(kubectl, "cat /etc/config/color") == "blue")
    assert sh(kubectl, "ls /etc/config").split() == ["color", "more", "raw"]
    assert sh(kubectl, "readlink /etc/config/..data") != before
    assert sh(kubectl, "cat /etc/pinned; echo $COLOR") == "redred\n"
    # The key that `scripts` needs is gone: what is mounted stays, and kubectl says why.
    assert sh(kubectl, "ls /scripts").split() == ["run.sh"]
    told = kubectl("describe", "pod", "main").stdout
    assert (
        'MountVolume.SetUp failed for volume "scripts" : '
        "configmap references non-existent config key: run.sh" in told
    )


@pytest.mark.usefixtures("main")
def test_what_a_container_writes_is_its_own(kubectl: Kubectl) -> None:
    name = f"/var/tmp/written-{os.getpid()}"
    sh(kubectl, f"echo mine > {name}; rm -rf /usr/share/doc")
    assert sh(kubectl, f"cat {name}") == "mine\n"
    assert "No such file" in sh(kubectl, f"cat {name}", "other")
    assert not Path(name).exists()
    assert Path("/usr/share/doc").exists()


@pytest.mark.usefixtures("main")
def test_a_containers_devices_are_those_of_a_container(kubectl: Kubectl) -> None:
    assert sh(kubectl, "echo said > /dev/stdout; echo x > /dev/null; test -c /dev/urandom") == (
        "said\n"
    )
    assert "disk" not in sh(kubectl, "ls /dev").split()


def test_a_restarted_container_keeps_its_volumes_and_nothing_else(
    lab: Cluster, kubectl: Kubectl
) -> None:
    script = "cat /data/kept /own; echo volume > /data/kept; echo file > /own; exit 1"
    manifest = pod("again", "emptyDir: {}").replace('sleep, "1000"', f"sh, -c, '{script}'")
    kubectl("apply", "-f", "-", input=manifest)
    assert until(lambda: "volume" in kubectl("logs", "again").stdout)
    assert "/own: No such file" in kubectl("logs", "again").stdout
    kubectl("delete", "pod", "again", "--force")


@pytest.mark.parametrize(
    ("volume", "problem"),
    [
        ("configMap: {name: none}", 'configmap "none" not found'),
        ("secret: {secretName: none}", 'secret "none" not found'),
        (
            "configMap: {name: kube-root-ca.crt, items: [{key: ca, path: ca}]}",
            "configmap references non-existent config key: ca",
        ),
        (
            "persistentVolumeClaim: {claimName: db}",
            'persistentvolumeclaim "db" not found: the testbed has no persistent volumes; '
            "use emptyDir or hostPath",
        ),
        (
            "nfs: {server: a, path: /b}",
            "the testbed has no volumes of type nfs; use emptyDir or hostPath",
        ),
        (
            "hostPath: {path: /etc/hostname, type: Directory}",
            "hostPath type check failed: /etc/hostname is not a directory, it's a File",
        ),
        ("hostPath: {path: /no/such, type: File}", "hostPath /no/such doesn't exist"),
    ],
)
def test_a_volume_that_cannot_be_had_keeps_the_pod_waiting_and_says_why(
    kubectl: Kubectl, volume: str, problem: str
) -> None:
    kubectl("apply", "-f", "-", input=pod("stuck", volume))
    assert until(lambda: "ContainerCreating" in kubectl("get", "pod", "stuck").stdout)
    told = kubectl("describe", "pod", "stuck").stdout
    assert f'MountVolume.SetUp failed for volume "data" : {problem}' in told
    status = json.loads(kubectl("get", "pod", "stuck", "-o", "json").stdout)["status"]
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    assert status["phase"] == "Pending"
    assert "podIP" not in status
    assert conditions["PodReadyToStartContainers"] == "False"
    kubectl("delete", "pod", "stuck", "--force")
    assert until(lambda: "not found" in kubectl("get", "pod", "stuck").stderr)


def test_a_pod_goes_on_once_what_it_waits_for_is_there(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=pod("late", "configMap: {name: late}"))
    assert until(lambda: "ContainerCreating" in kubectl("get", "pod", "late").stdout)
    kubectl("create", "configmap", "late", "--from-literal=key=value")
    assert kubectl("wait", "--for=condition=Ready", "pod/late", "--timeout=5s").returncode == 0
    assert sh(kubectl, "cat /data/key", name="late") == "value"
    kubectl("delete", "pod", "late", "--force")


def test_a_host_path_is_the_machines_and_is_made_if_asked_for(
    kubectl: Kubectl, tmp_path: Path
) -> None:
    volume = f"hostPath: {{path: {tmp_path}/made, type: DirectoryOrCreate}}"
    kubectl("apply", "-f", "-", input=pod("host", volume))
    assert kubectl("wait", "--for=condition=Ready", "pod/host", "--timeout=5s").returncode == 0
    sh(kubectl, "echo out > /data/file", name="host")
    assert (tmp_path / "made/file").read_text() == "out\n"
    kubectl("delete", "pod", "host", "--force")
    assert (tmp_path / "made/file").exists()


def test_a_sub_path_that_is_not_in_a_map_is_a_config_error(kubectl: Kubectl) -> None:
    manifest = pod("sub", "configMap: {name: kube-root-ca.crt}")
    manifest = manifest.replace("mountPath: /data", "mountPath: /data, subPath: nothing")
    kubectl("apply", "-f", "-", input=manifest)
    assert until(lambda: "CreateContainerConfigError" in kubectl("get", "pod", "sub").stdout)
    told = 'failed to create subPath directory for volumeMount "data" of container "c"'
    assert told in kubectl("describe", "pod", "sub").stdout
    kubectl("delete", "pod", "sub", "--force")


def test_a_script_without_permission_to_run_is_a_start_error(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "script", "--from-literal=run.sh=#!/bin/sh")
    manifest = pod("weak", "configMap: {name: script}").replace('sleep, "1000"', "/data/run.sh")
    kubectl("apply", "-f", "-", input=manifest)
    assert until(lambda: "StartError" in kubectl("describe", "pod", "weak").stdout)
    assert 'exec: "/data/run.sh": permission denied' in kubectl("describe", "pod", "weak").stdout
    kubectl("delete", "pod", "weak", "--force")


def test_a_pods_volumes_are_gone_with_it(lab: Cluster, kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=pod("short", "emptyDir: {}"))
    assert kubectl("wait", "--for=condition=Ready", "pod/short", "--timeout=5s").returncode == 0
    uid = lab.get("pods", "short")["metadata"]["uid"]
    found = subprocess.run(["find", "/run", "-path", f"*{uid}*"], capture_output=True, text=True)
    assert f"pods/{uid}/volumes/data" in found.stdout
    kubectl("delete", "pod", "short", "--force")
    found = subprocess.run(["find", "/run", "-path", f"*{uid}*"], capture_output=True, text=True)
    assert found.stdout == ""


NGINX = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: site}
data:
  index.html: "<h1>from a map</h1>"
  site.conf: "server { listen 8080; location / { return 200 'from conf.d'; } }"
---
apiVersion: v1
kind: Pod
metadata: {name: site}
spec:
  containers:
  - name: c
    image: nginx
    volumeMounts:
    - {name: site, mountPath: /usr/share/nginx/html}
    - {name: site, mountPath: /etc/nginx/conf.d/site.conf, subPath: site.conf}
  volumes: [{name: site, configMap: {name: site}}]
"""


def test_nginx_serves_pages_and_servers_out_of_a_map(lab: Cluster, kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=NGINX)

    def serves() -> bool:
        place = address(lab, "site")
        request = b"GET / HTTP/1.0\r\n\r\n"
        try:
            found = [ask(lab, "w1", place, port, request) for port in (80, 8080)]
        except ConnectionRefusedError:
            return False
        return b"from a map" in found[0] and b"from conf.d" in found[1]

    assert until(lambda: "Running" in kubectl("get", "pod", "site").stdout)
    assert until(serves), kubectl("logs", "site").stdout
    kubectl("delete", "pod", "site", "--force")


@pytest.mark.parametrize(
    ("policy", "script", "message"),
    [
        ("File", "echo printed; echo why > /dev/termination-log; exit 3", "why\n"),
        ("File", "echo printed; exit 3", ""),
        ("FallbackToLogsOnError", "echo printed; exit 3", "printed\n"),
        ("FallbackToLogsOnError", "echo printed; exit 0", ""),
    ],
)
def test_a_termination_message_is_what_the_program_left(
    kubectl: Kubectl, policy: str, script: str, message: str
) -> None:
    manifest = pod("last", "emptyDir: {}").replace('sleep, "1000"', f"sh, -c, '{script}'")
    manifest = manifest.replace("spec:\n", "spec:\n  restartPolicy: Never\n")
    line = f"    terminationMessagePolicy: {policy}\n    image:"
    kubectl("apply", "-f", "-", input=manifest.replace("    image:", line))

    def state() -> dict[str, str]:
        found = json.loads(kubectl("get", "pod", "last", "-o", "json").stdout)
        ended = found["status"]["containerStatuses"][0]["state"].get("terminated")
        return dict(ended or {})

    assert until(lambda: bool(state()))
    assert state().get("message", "") == message
    kubectl("delete", "pod", "last", "--force")

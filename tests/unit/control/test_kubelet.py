"""Containers through their lives: probes, restarts, init containers, hooks, the end; and status."""

from __future__ import annotations

from typing import Any

from testbed.api.documents import Document
from tests.unit.control.world import World, container, node, pod, service


def one(name: str = "web-0", **more: Any) -> Document:
    """A Pod of one container "c" with these fields of the container."""
    document = pod(name)
    document["spec"]["containers"] = [{**container(), **more}]
    return document


def state(world: World, name: str = "web-0", container: str = "c") -> dict[str, Any]:
    status = world.pod(name)["status"]
    lists = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    everyone = [entry for each in lists for entry in status.get(each, ())]
    return next(entry for entry in everyone if entry["name"] == container)


def conditions(world: World, name: str = "web-0") -> dict[str, str]:
    return {c["type"]: c["status"] for c in world.pod(name)["status"]["conditions"]}


def waiting(world: World, container: str = "c") -> str:
    return str(state(world, container=container)["state"]["waiting"]["reason"])


HTTP = {"httpGet": {"path": "/healthz", "port": 8080}}


def test_a_readiness_probe_that_is_due_at_once_has_run_when_the_world_rests() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("pods", one(readinessProbe=HTTP))
    assert conditions(world)["Ready"] == "True"
    assert state(world)["ready"] is True


def test_a_pod_whose_probe_fails_runs_but_is_not_ready_and_says_why() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("services", service())
    world.runtime.problems["web-0"] = "HTTP probe failed with statuscode: 503"
    world.create("pods", one(readinessProbe=HTTP))
    assert world.pod("web-0")["status"]["phase"] == "Running"
    ready = next(c for c in world.pod("web-0")["status"]["conditions"] if c["type"] == "Ready")
    assert (ready["reason"], ready["message"]) == (
        "ContainersNotReady",
        "containers with unready status: [c]",
    )
    expected = "Readiness probe failed: HTTP probe failed with statuscode: 503"
    assert ("Warning", "Unhealthy", expected) in world.api.events
    assert world.endpoints("web")[0]["conditions"]["ready"] is False


def test_readiness_turns_after_as_many_results_as_the_thresholds_say() -> None:
    world = World(nodes=[("w1", "a")])
    probe = {**HTTP, "periodSeconds": 5, "failureThreshold": 3, "successThreshold": 2}
    world.create("pods", one(readinessProbe=probe))
    seen = [conditions(world)["Ready"]]
    for _ in range(2):
        world.advance(5)
        seen.append(conditions(world)["Ready"])
    assert seen == ["False", "True", "True"]
    world.runtime.problems["web-0"] = "refused"
    for _ in range(3):
        world.advance(5)
        seen.append(conditions(world)["Ready"])
    assert seen[3:] == ["True", "True", "False"]


def test_an_initial_delay_counts_from_the_start_of_the_container() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("pods", one(readinessProbe={**HTTP, "initialDelaySeconds": 7}))
    assert world.runtime.checks == []
    world.advance(6.9)
    assert world.runtime.checks == []
    world.advance(0.2)
    assert conditions(world)["Ready"] == "True"


def test_a_failed_liveness_probe_restarts_the_container() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("pods", one(livenessProbe={**HTTP, "periodSeconds": 1, "failureThreshold": 2}))
    world.runtime.problems["web-0"] = "refused"
    world.advance(1)
    assert state(world)["restartCount"] == 0
    world.advance(1)
    assert state(world)["restartCount"] == 1
    killing = "Container c failed liveness probe, will be restarted"
    assert ("Normal", "Killing", killing) in world.api.events


def test_until_the_startup_probe_succeeds_nothing_else_is_probed() -> None:
    world = World(nodes=[("w1", "a")])
    world.runtime.problems["web-0"] = "not yet"
    startup = {"tcpSocket": {"port": 1}, "periodSeconds": 1, "failureThreshold": 30}
    world.create("pods", one(startupProbe=startup, readinessProbe=HTTP, livenessProbe=HTTP))
    world.advance(5)
    assert all("tcpSocket" in action for _, action in world.runtime.checks)
    assert state(world)["started"] is False
    del world.runtime.problems["web-0"]
    world.advance(1)
    assert (state(world)["started"], conditions(world)["Ready"]) == (True, "True")


def test_a_probe_under_way_is_not_started_again() -> None:
    world = World(nodes=[("w1", "a")])
    world.runtime.held = []
    world.create("pods", one(readinessProbe={**HTTP, "periodSeconds": 1}))
    world.advance(5)
    assert len(world.runtime.held) == 1
    world.runtime.held[0]("")
    world.run()
    assert conditions(world)["Ready"] == "True"


def test_probes_of_a_silent_node_rest() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("pods", one(readinessProbe={**HTTP, "periodSeconds": 1}))
    before = len(world.runtime.checks)
    world.stop_node("w1")
    world.advance(5)
    assert len(world.runtime.checks) == before


def test_a_readiness_gate_holds_the_pod_until_its_condition_is_true() -> None:
    world = World(nodes=[("w1", "a")])
    document = pod("web-0", readinessGates=[{"conditionType": "example.com/green"}])
    world.create("pods", document)
    ready = next(c for c in world.pod("web-0")["status"]["conditions"] if c["type"] == "Ready")
    assert ready["reason"] == "ReadinessGatesNotReady"
    changed = {**world.pod("web-0")}
    gate = {"type": "example.com/green", "status": "True"}
    changed["status"] = {**changed["status"]}
    changed["status"]["conditions"] = [*changed["status"]["conditions"], gate]
    world.store.update("pods", changed, status=True)
    world.run()
    assert conditions(world)["Ready"] == "True"
    assert conditions(world)["example.com/green"] == "True"


def test_a_program_that_ends_is_restarted_at_once_then_after_growing_delays() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("pods", pod("web-0"))
    world.exit("web-0", 1)
    assert (state(world)["restartCount"], "running" in state(world)["state"]) == (1, True)
    for restarts, delay in enumerate((10, 20, 40), 1):
        world.exit("web-0", 1)
        assert waiting(world) == "CrashLoopBackOff"
        assert state(world)["lastState"]["terminated"]["exitCode"] == 1
        world.advance(delay - 1)
        assert state(world)["restartCount"] == restarts
        world.advance(2)
        assert state(world)["restartCount"] == restarts + 1


def test_a_long_run_forgets_the_crashes_before() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("pods", pod("web-0"))
    world.exit("web-0", 1)
    world.advance(700)
    world.exit("web-0", 1)
    assert state(world)["restartCount"] == 2


def test_a_pod_that_never_restarts_succeeds_or_fails_and_gives_its_address_back() -> None:
    for code, phase, reason in ((0, "Succeeded", "Completed"), (3, "Failed", "Error")):
        world = World(nodes=[("w1", "a")])
        world.create("services", service())
        world.create("pods", pod("web-0", restartPolicy="Never"))
        world.exit("web-0", code)
        assert world.pod("web-0")["status"]["phase"] == phase
        assert state(world)["state"]["terminated"]["reason"] == reason
        assert world.runtime.sandboxes == {}
        assert world.endpoints("web") == []
        world.delete("pods", "web-0")
        assert world.pods() == []


def test_a_missing_image_is_pulled_again_after_growing_delays() -> None:
    world = World(nodes=[("w1", "a")])
    world.runtime.missing_images.add("web")
    world.create("pods", pod("web-0"))
    assert waiting(world) == "ImagePullBackOff"
    assert ("Warning", "Failed", "Error: ErrImagePull") in world.api.events
    world.runtime.missing_images.clear()
    world.advance(11)
    assert conditions(world)["Ready"] == "True"


def init(name: str, **more: Any) -> Document:
    return {**container(name), **more}


def test_init_containers_run_one_after_the_other_before_the_others() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("pods", pod("web-0", initContainers=[init("one"), init("two")]))
    assert world.runtime.calls == ["start one"]
    assert world.pod("web-0")["status"]["phase"] == "Pending"
    assert conditions(world)["Initialized"] == "False"
    assert waiting(world) == "PodInitializing"
    world.exit("web-0", 0, "one")
    world.exit("web-0", 0, "two")
    assert world.runtime.calls == ["start one", "start two", "start c"]
    assert (conditions(world)["Initialized"], conditions(world)["Ready"]) == ("True", "True")
    assert state(world, container="one")["ready"] is True


def test_a_failed_init_container_is_run_again_unless_the_policy_is_never() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("pods", pod("web-0", initContainers=[init("one")]))
    world.exit("web-0", 1, "one")
    assert world.runtime.calls == ["start one", "start one"]
    world.create("pods", pod("web-1", initContainers=[init("one")], restartPolicy="Never"))
    world.exit("web-1", 1, "one")
    assert world.pod("web-1")["status"]["phase"] == "Failed"


def test_a_sidecar_starts_first_stays_up_and_is_stopped_last() -> None:
    world = World(nodes=[("w1", "a")])
    sidecars = [init(name, restartPolicy="Always") for name in ("log", "mesh")]
    world.create("pods", pod("web-0", initContainers=sidecars))
    assert world.runtime.calls == ["start log", "start mesh", "start c"]
    world.exit("web-0", 1, "log")
    assert state(world, container="log")["restartCount"] == 1
    world.runtime.calls.clear()
    world.delete("pods", "web-0")
    assert world.runtime.calls == ["stop c", "stop mesh", "stop log"]
    assert world.pods() == []


def test_sidecars_end_when_the_work_is_done() -> None:
    world = World(nodes=[("w1", "a")])
    sidecar = init("log", restartPolicy="Always")
    world.create("pods", pod("web-0", initContainers=[sidecar], restartPolicy="Never"))
    world.exit("web-0", 0)
    assert world.pod("web-0")["status"]["phase"] == "Succeeded"
    assert world.runtime.sandboxes == {}


def test_a_pre_stop_command_comes_before_sigterm() -> None:
    world = World(nodes=[("w1", "a")])
    hook = {"exec": {"command": ["drain"]}}
    world.create("pods", one(lifecycle={"preStop": hook}))
    world.runtime.held = []
    world.delete("pods", "web-0")
    assert world.runtime.checks[-1][1] == hook
    assert "stop c" not in world.runtime.calls
    world.runtime.held[0]("")
    world.run()
    assert world.runtime.calls[-1] == "stop c"
    assert world.pods() == []


def test_a_program_that_ignores_sigterm_is_killed_after_the_grace_period() -> None:
    world = World(nodes=[("w1", "a")])
    world.runtime.stubborn.add("c")
    world.create("pods", pod("web-0", terminationGracePeriodSeconds=30))
    world.delete("pods", "web-0")
    world.advance(29)
    assert world.runtime.calls == ["start c", "stop c"]
    assert conditions(world)["Ready"] == "True"
    world.advance(2)
    assert world.runtime.calls[-1] == "kill c"
    assert world.pods() == []


def test_a_second_delete_shortens_the_grace_period() -> None:
    world = World(nodes=[("w1", "a")])
    world.runtime.stubborn.add("c")
    world.create("pods", pod("web-0", terminationGracePeriodSeconds=300))
    world.delete("pods", "web-0")
    world.delete("pods", "web-0", grace=5)
    world.advance(6)
    assert world.pods() == []


def test_readiness_goes_on_being_probed_while_a_pod_ends() -> None:
    world = World(nodes=[("w1", "a")])
    world.runtime.stubborn.add("c")
    probe = {**HTTP, "periodSeconds": 1, "failureThreshold": 1}
    world.create("pods", one(readinessProbe=probe, livenessProbe=probe))
    world.delete("pods", "web-0")
    world.runtime.problems["web-0"] = "draining"
    world.advance(2)
    assert conditions(world)["Ready"] == "False"
    assert "kill c" not in world.runtime.calls


def test_variables_come_from_links_fields_maps_and_each_other() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("services", service("my-db", clusterIP="10.96.7.7", clusterIPs=["10.96.7.7"]))
    world.store.create(
        "configmaps",
        {"metadata": {"name": "settings", "namespace": "default"}, "data": {"color": "blue"}},
    )
    env = [
        {"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "URL", "value": "http://$(MY_DB_SERVICE_HOST)/$(WHO)/$$(X)/$(UNKNOWN)"},
    ]
    source = [{"configMapRef": {"name": "settings"}, "prefix": "P_"}]
    world.create("pods", one(env=env, envFrom=source))
    found = world.runtime.environments["c"]
    assert found["URL"] == "http://10.96.7.7/web-0/$(X)/$(UNKNOWN)"
    assert (found["APP"], found["P_color"]) == ("web", "blue")
    assert found["MY_DB_PORT_80_TCP"] == "tcp://10.96.7.7:80"


def test_without_service_links_a_pod_hears_of_no_service() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("services", service())
    document = one()
    document["spec"]["enableServiceLinks"] = False
    world.create("pods", document)
    assert world.runtime.environments["c"] == {}


def test_a_missing_config_map_keeps_the_container_waiting() -> None:
    world = World(nodes=[("w1", "a")])
    reference = {"configMapKeyRef": {"name": "settings", "key": "color"}}
    world.create("pods", one(env=[{"name": "COLOR", "valueFrom": reference}]))
    assert waiting(world) == "CreateContainerConfigError"
    assert state(world)["state"]["waiting"]["message"] == 'configmap "settings" not found'


def test_host_ports_are_mapped_while_their_pods_run() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("pods", one(ports=[{"containerPort": 80, "hostPort": 8080}]))
    assert world.runtime.mapped == {"w1": ["web-0"]}
    world.delete("pods", "web-0")
    assert world.runtime.mapped == {"w1": []}


def test_the_files_of_a_pod_name_it_and_the_cluster_dns() -> None:
    world = World(nodes=[("w1", "a")])
    dns = service("kube-dns", clusterIP="10.96.0.10", clusterIPs=["10.96.0.10"])
    dns["metadata"]["namespace"] = "kube-system"
    world.create("services", dns)
    world.create("pods", pod("web-0", hostname="db", subdomain="data"))
    (sandbox,) = world.runtime.sandboxes.values()
    assert sandbox.hostname == "db"
    assert (
        f"{sandbox.addresses[0]}\tdb.data.default.svc.cluster.local\tdb"
        in sandbox.files["/etc/hosts"]
    )
    assert "nameserver 10.96.0.10" in sandbox.files["/etc/resolv.conf"]
    assert sandbox.files["/etc/hostname"] == "db\n"


def test_a_missing_program_is_a_run_that_ended_and_backs_off() -> None:
    world = World()
    world.runtime.missing_programs.add("web")
    world.create("pods", one())
    assert waiting(world).startswith("CrashLoopBackOff")
    found = world.pod("web-0")["status"]["containerStatuses"][0]
    ended = found["lastState"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert ended["message"] == "no program in web"
    assert found["restartCount"] == 1
    world.advance(11)
    assert world.pod("web-0")["status"]["containerStatuses"][0]["restartCount"] == 2


def test_a_missing_program_that_is_not_run_again_fails_the_pod() -> None:
    world = World()
    world.runtime.missing_programs.add("web")
    world.create("pods", pod("web-0", restartPolicy="Never"))
    status = world.pod("web-0")["status"]
    assert status["phase"] == "Failed"
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 128


def test_the_event_says_where_the_echo_application_stands_in_for_an_image() -> None:
    world = World()
    world.create("pods", one("known"))
    world.runtime.unknown_images.add("web")
    world.create("pods", one("unknown"))
    assert [message for _, reason, message in world.api.events if reason == "Pulled"] == [
        'Container image "web" already present on machine',
        'Image "web" is not in the image table; the echo application runs',
    ]


def hooked(**hook: Document) -> Document:
    each = {**container(), "lifecycle": {"postStart": hook}}
    return pod("web-0", containers=[each, {**container(), "name": "second"}])


def test_a_post_start_hook_holds_the_container_and_those_after_it() -> None:
    world = World()
    world.runtime.held = []
    world.create("pods", hooked(httpGet={"port": 80}))
    assert waiting(world) == "ContainerCreating"
    assert world.pod("web-0")["status"]["phase"] == "Pending"
    assert world.runtime.calls == ["start c"]
    world.runtime.held[0]("")
    world.run()
    assert world.pod("web-0")["status"]["phase"] == "Running"
    assert world.runtime.calls == ["start c", "start second"]


def test_a_post_start_hook_that_fails_ends_the_container() -> None:
    world = World()
    world.runtime.stubborn.add("c")
    world.runtime.problems["web-0"] = "command terminated with exit code 1"
    world.create("pods", hooked(exec={"command": ["false"]}))
    told = [(reason, message) for _, reason, message in world.api.events]
    assert ("FailedPostStartHook", "PostStartHook failed") in told
    assert ("Killing", "FailedPostStartHook") in told
    assert "stop c" in world.runtime.calls
    world.exit("web-0", 137)
    found = world.pod("web-0")["status"]["containerStatuses"][0]
    assert found["lastState"]["terminated"]["exitCode"] == 137
    assert found["restartCount"] == 1


def test_a_post_start_hook_may_sleep_on_the_labs_clock() -> None:
    world = World()
    world.create("pods", hooked(sleep={"seconds": 5}))
    assert waiting(world) == "ContainerCreating"
    world.advance(5)
    assert world.pod("web-0")["status"]["phase"] == "Running"


def test_a_hook_of_a_run_that_is_over_changes_nothing() -> None:
    world = World()
    world.runtime.held = []
    world.create("pods", hooked(exec={"command": ["slow"]}))
    first = world.runtime.held[0]
    world.exit("web-0", 1)
    first("too late")
    world.run()
    assert not any(reason == "FailedPostStartHook" for _, reason, _ in world.api.events)


def test_a_hook_by_tcp_socket_is_refused_as_kubelet_does() -> None:
    world = World()
    world.create("pods", hooked(tcpSocket={"port": 80}))
    assert any(reason == "FailedPostStartHook" for _, reason, _ in world.api.events)


def test_probes_wait_for_the_post_start_hook() -> None:
    world = World()
    world.runtime.held = []
    document = hooked(exec={"command": ["slow"]})
    document["spec"]["containers"][0]["readinessProbe"] = {"httpGet": {"port": 80}}
    world.create("pods", document)
    assert [action for _, action in world.runtime.checks] == [{"exec": {"command": ["slow"]}}]
    world.runtime.held[0]("")
    world.run()
    assert world.runtime.checks[-1][1] == {"httpGet": {"port": 80}}


def with_sidecars(**main: Any) -> Document:
    sidecars = [{**container(), "name": name, "restartPolicy": "Always"} for name in ("one", "two")]
    return pod("web-0", initContainers=sidecars, containers=[{**container(), **main}])


def stops(world: World) -> list[str]:
    return [call for call in world.runtime.calls if call.startswith(("stop", "kill"))]


def test_sidecars_end_after_the_main_containers_from_the_last_to_the_first() -> None:
    world = World()
    world.runtime.stubborn |= {"c", "one", "two"}
    world.create("pods", with_sidecars())
    world.delete("pods", "web-0", grace=30)
    assert stops(world) == ["stop c"]
    world.exit("web-0", 0)
    assert stops(world) == ["stop c", "stop two"]
    world.exit("web-0", 0, "two")
    assert stops(world) == ["stop c", "stop two", "stop one"]
    world.exit("web-0", 0, "one")
    assert world.store.find("pods", "default", "web-0") is None


def test_sidecars_do_not_outlive_the_grace_period_of_a_container_that_does_not_end() -> None:
    world = World()
    world.runtime.stubborn |= {"c", "one", "two"}
    world.create("pods", with_sidecars())
    world.delete("pods", "web-0", grace=10)
    world.advance(10)
    assert stops(world) == ["stop c", "kill c", "stop two", "stop one"]
    world.advance(2)
    assert sorted(stops(world)[4:]) == ["kill one", "kill two"]
    assert world.store.find("pods", "default", "web-0") is None


def test_all_pre_stop_hooks_run_at_once() -> None:
    world = World()
    document = with_sidecars(lifecycle={"preStop": {"exec": {"command": ["main"]}}})
    hook = {"preStop": {"exec": {"command": ["sidecar"]}}}
    document["spec"]["initContainers"][0]["lifecycle"] = hook
    world.create("pods", document)
    world.runtime.held = []
    world.delete("pods", "web-0", grace=30)
    assert [action["exec"]["command"] for _, action in world.runtime.checks] == [
        ["main"],
        ["sidecar"],
    ]


def test_binding_a_pod_makes_no_new_generation() -> None:
    world = World()
    world.create("pods", one())
    bound = world.pod("web-0")
    assert bound["metadata"]["generation"] == 1
    assert {c["observedGeneration"] for c in bound["status"]["conditions"]} == {1}


def debugging(**more: Any) -> list[Document]:
    return [{"name": "debug", "image": "web", **more}]


def test_an_ephemeral_container_starts_in_a_running_pod_and_is_not_run_again() -> None:
    world = World()
    world.create("pods", one())
    world.change("pods", "web-0", ephemeralContainers=debugging())
    assert world.runtime.calls == ["start c", "start debug"]
    assert state(world, container="debug")["state"].keys() == {"running"}
    world.exit("web-0", 3, "debug")
    world.advance(60)
    ended = state(world, container="debug")["state"]["terminated"]
    assert ended["exitCode"] == 3
    assert world.pod("web-0")["status"]["phase"] == "Running"
    assert world.runtime.calls == ["start c", "start debug"]


def test_an_ephemeral_container_ends_with_its_pod() -> None:
    world = World()
    world.create("pods", one())
    world.change("pods", "web-0", ephemeralContainers=debugging())
    world.delete("pods", "web-0")
    assert world.runtime.calls[2:] == ["stop c", "stop debug"]
    assert world.store.find("pods", "default", "web-0") is None


def lacking(world: World) -> str:
    return str(state(world)["state"]["waiting"]["message"])


def test_a_variable_of_a_missing_map_is_waited_for_at_steady_intervals() -> None:
    world = World()
    reference = {"configMapKeyRef": {"name": "config", "key": "key"}}
    world.create("pods", one(env=[{"name": "A", "valueFrom": reference}]))
    assert waiting(world) == "CreateContainerConfigError"
    assert lacking(world) == 'configmap "config" not found'
    assert ("Warning", "Failed", 'Error: configmap "config" not found') in world.api.events
    for _ in range(6):
        world.advance(10)
    assert sum(reason == "Failed" for _, reason, _ in world.api.events) == 7
    meta = {"name": "config", "namespace": "default"}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"other": "x"}}
    world.create("configmaps", config)
    world.advance(10)
    assert lacking(world) == "couldn't find key key in ConfigMap default/config"
    found = world.store.get("configmaps", "default", "config")
    world.store.update("configmaps", {**found, "data": {"key": "value"}})
    world.run()
    assert world.pod("web-0")["status"]["phase"] == "Running"
    assert world.runtime.environments["c"]["A"] == "value"


def test_a_missing_secret_of_env_from_is_waited_for_unless_it_is_optional() -> None:
    world = World()
    world.create("pods", one(envFrom=[{"secretRef": {"name": "none", "optional": True}}]))
    assert world.pod("web-0")["status"]["phase"] == "Running"
    world = World()
    world.create("pods", one(envFrom=[{"secretRef": {"name": "none"}}]))
    assert lacking(world) == 'secret "none" not found'


def test_a_sandbox_that_fails_is_tried_again_every_ten_seconds_whatever_happens() -> None:
    world = World()
    world.runtime.refused["web-0"] = "no room"
    world.create("pods", one())
    for _ in range(9):
        world.change("pods", "web-0", activeDeadlineSeconds=1000)
        world.advance(1)
    assert world.runtime.tries == 1
    world.runtime.refused.clear()
    world.advance(1)
    assert world.pod("web-0")["status"]["phase"] == "Running"


def test_a_node_that_no_machine_stands_behind_has_no_kubelet() -> None:
    world = World()
    world.kubelet.nodes.machines = {"w1", "w2", "w3"}
    world.create("nodes", node("w9", "a", 9))
    world.create("pods", pod("web-0", nodeName="w9"))
    world.advance(60)
    assert not world.runtime.sandboxes
    conditions = world.store.get("nodes", "", "w9")["status"]["conditions"]
    assert [c["status"] for c in conditions if c["type"] == "Ready"] == ["Unknown"]

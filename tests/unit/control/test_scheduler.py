"""The scheduler: where a Pod may go, and what is said where it may go nowhere."""

from __future__ import annotations

import copy
from typing import Any

from testbed.api.documents import Document
from testbed.control.controllers import fitting
from testbed.control.controllers.scheduler import Scheduler
from tests.unit.control.world import Bench, container, node, pod

NOWHERE = "no new claims to deallocate, preemption: 0/{0} nodes are available: {1}."


def bench(*nodes: Document) -> Bench:
    made = Bench(Scheduler, nodes=0)
    for document in nodes:
        made.store.create("nodes", document)
    return made


def sized(name: str, zone: str = "a", **allocatable: str) -> Document:
    document = node(name, zone, int(name[1:]))
    document["status"]["allocatable"] = {"pods": "110", **allocatable}
    return document


def asking(name: str, labels: dict[str, str] | None = None, **requests: str) -> Document:
    document = pod(name, labels)
    document["spec"]["containers"][0]["resources"] = {"requests": requests}
    return document


def message(made: Bench, name: str) -> str:
    (entry,) = made.store.get("pods", "default", name)["status"]["conditions"]
    assert (entry["type"], entry["status"], entry["reason"]) == (
        "PodScheduled",
        "False",
        "Unschedulable",
    )
    assert ("Warning", "FailedScheduling", entry["message"]) in made.api.events
    return str(entry["message"])


def places(made: Bench) -> dict[str, str | None]:
    return {p["metadata"]["name"]: p["spec"].get("nodeName") for p in made.store.list("pods")}


def test_reasons_are_counted_and_sorted_as_text_with_what_preemption_says() -> None:
    tainted = sized("w1", cpu="4")
    tainted["spec"]["taints"] = [{"key": "k", "value": "v", "effect": "NoSchedule"}]
    cordoned = sized("w2", cpu="4")
    cordoned["spec"]["unschedulable"] = True
    made = bench(tainted, cordoned, sized("w3", cpu="4"), sized("w4", cpu="4"))
    for index in (3, 4):
        made.create("pods", {**asking(f"big{index}", cpu="3")})
    made.create("pods", asking("late", cpu="2"))
    assert message(made, "late") == (
        "0/4 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were "
        "unschedulable, 2 Insufficient cpu. "
        + NOWHERE.format(
            4,
            "2 No preemption victims found for incoming pod, 2 Preemption is not helpful for "
            "scheduling",
        )
    )


def test_what_no_node_ever_has_is_beyond_preemption() -> None:
    made = bench(sized("w1", cpu="4", memory="8Gi"))
    made.create("pods", asking("huge", cpu="64", memory="1Ti"))
    assert message(made, "huge") == (
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. "
        + NOWHERE.format(1, "1 Preemption is not helpful for scheduling")
    )


def test_a_node_takes_no_more_pods_than_it_says() -> None:
    made = bench(sized("w1", pods="1"))
    made.create("pods", pod("a"))
    made.create("pods", pod("b"))
    assert places(made) == {"a": "w1", "b": None}
    assert message(made, "b").startswith("0/1 nodes are available: 1 Too many pods. no new")
    made.api.delete("pods", "default", "a", grace=0)
    made.run()
    assert places(made) == {"b": "w1"}


def test_requests_are_those_of_containers_and_sidecars_or_of_the_greediest_init_container() -> None:
    def using(cpu: str, **more: Any) -> Document:
        return {**container(), "resources": {"requests": {"cpu": cpu}}, **more}

    document = pod("p", overhead={"cpu": "100m"})
    document["spec"]["containers"] = [using("1"), using("500m")]
    document["spec"]["initContainers"] = [using("1", restartPolicy="Always"), using("2")]
    assert float(fitting.requests(document)["cpu"]) == 3.1
    document["spec"]["resources"] = {"requests": {"cpu": "4"}}
    assert float(fitting.requests(document)["cpu"]) == 4.1


def test_a_pod_for_one_node_hears_of_that_node_alone() -> None:
    made = bench(sized("w1", cpu="1"), sized("w2", cpu="4"), sized("w3", cpu="4"))
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["w1"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    daemon = asking("daemon", cpu="2")
    daemon["spec"]["affinity"] = {"nodeAffinity": required}
    made.create("pods", daemon)
    assert message(made, "daemon") == (
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) "
        "[NodeAffinity]. " + NOWHERE.format(3, "3 Preemption is not helpful for scheduling")
    )
    term["matchFields"].append({"key": "metadata.name", "operator": "In", "values": ["w2"]})
    torn = copy.deepcopy(daemon)
    torn["metadata"]["name"] = "torn"
    made.create("pods", torn)
    assert message(made, "torn").startswith(
        "0/3 nodes are available: pod affinity terms conflict. no new claims"
    )


def test_without_nodes_that_is_said() -> None:
    made = bench()
    made.create("pods", pod("p"))
    assert message(made, "p") == "no nodes available to schedule pods"


def test_a_pod_that_preempts_nobody_says_so() -> None:
    made = bench(sized("w1", cpu="1"))
    document = asking("meek", cpu="2")
    document["spec"]["preemptionPolicy"] = "Never"
    made.create("pods", document)
    assert message(made, "meek").endswith(
        "no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never."
    )


def test_gated_pods_and_those_of_another_scheduler_are_left_alone() -> None:
    made = bench(sized("w1"))
    made.create("pods", pod("gated", schedulingGates=[{"name": "example.org/wait"}]))
    made.create("pods", pod("other", schedulerName="mine"))
    made.create("pods", pod("own", schedulerName="default-scheduler"))
    assert places(made) == {"gated": None, "other": None, "own": "w1"}


def spread(name: str, key: str = "topology.kubernetes.io/zone", **more: Any) -> Document:
    constraint = {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
        **more,
    }
    return pod(name, topologySpreadConstraints=[constraint])


def test_spread_pods_keep_the_skew_between_zones() -> None:
    made = bench(sized("w1", "a"), sized("w2", "a"), sized("w3", "b", pods="2"))
    for name in "pqrstu":
        made.create("pods", spread(name))
    found = places(made)
    assert [found[name] for name in "pqrst"].count("w3") == 2
    assert found["u"] is None
    assert message(made, "u") == (
        "0/3 nodes are available: 1 Too many pods, 2 node(s) didn't match pod topology spread "
        "constraints. " + NOWHERE.format(3, "3 No preemption victims found for incoming pod")
    )


def test_a_node_without_the_key_of_a_spread_is_none() -> None:
    made = bench(sized("w1"))
    made.create("pods", spread("p", "example.org/rack"))
    assert message(made, "p").startswith(
        "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints "
        "(missing required label). "
    )


def test_too_few_domains_count_as_an_empty_one() -> None:
    made = bench(sized("w1", "a"))
    for name in ("p", "q"):
        made.create("pods", spread(name, minDomains=2))
    assert places(made) == {"p": "w1", "q": None}


def test_tainted_nodes_are_domains_unless_the_spread_honours_taints() -> None:
    for policy, second in (("Ignore", None), ("Honor", "w1")):
        tainted = sized("w2", "b")
        tainted["spec"]["taints"] = [{"key": "k", "effect": "NoSchedule"}]
        made = bench(sized("w1", "a"), tainted)
        for name in ("p", "q"):
            made.create("pods", spread(name, nodeTaintsPolicy=policy))
        assert places(made) == {"p": "w1", "q": second}


def near(kind: str, app: str, key: str = "topology.kubernetes.io/zone") -> Document:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_affinity_goes_where_its_pods_are_and_the_first_of_its_own_anywhere() -> None:
    made = bench(sized("w1", "a"), sized("w2", "b"), sized("w3", "b"))
    made.create("pods", pod("db", {"app": "db"}, nodeName="w2"))
    made.create("pods", pod("web", {"app": "web"}, affinity=near("podAffinity", "db")))
    made.create("pods", pod("lonely", {"app": "x"}, affinity=near("podAffinity", "y")))
    assert (places(made)["web"], places(made)["lonely"]) == ("w3", None)
    assert "3 node(s) didn't match pod affinity rules. " in message(made, "lonely")
    made.create("pods", pod("first", {"app": "y"}, affinity=near("podAffinity", "y")))
    assert (places(made)["first"], places(made)["lonely"]) == ("w1", "w1")


def test_anti_affinity_holds_for_a_whole_domain_and_both_ways() -> None:
    made = bench(sized("w1", "a"), sized("w2", "a"))
    made.create("pods", pod("db", {"app": "db"}, nodeName="w1"))
    made.create("pods", pod("web", {"app": "web"}, affinity=near("podAntiAffinity", "db")))
    assert message(made, "web").startswith(
        "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules. "
    )
    made.create("pods", pod("shy", {"app": "shy"}, affinity=near("podAntiAffinity", "loud")))
    made.create("pods", pod("loud", {"app": "loud"}))
    assert message(made, "loud").startswith(
        "0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules. "
    )


def test_a_term_is_about_its_own_namespace_unless_it_names_or_selects_others() -> None:
    made = bench(sized("w1", "a"))
    labels = {"team": "x"}
    made.store.create(
        "namespaces",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "far", "labels": labels}},
    )
    there = pod("db", {"app": "db"}, nodeName="w1")
    there["metadata"]["namespace"] = "far"
    made.create("pods", there)
    for name, more, where in (
        ("own", {}, "w1"),
        ("named", {"namespaces": ["far"]}, None),
        ("selected", {"namespaceSelector": {"matchLabels": labels}}, None),
    ):
        affinity = near("podAntiAffinity", "db")
        terms = affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        terms[0].update(more)
        made.create("pods", pod(name, {"app": "web"}, affinity=affinity))
        assert made.store.get("pods", "default", name)["spec"].get("nodeName") == where


def test_a_preference_decides_between_nodes_that_fit() -> None:
    disliked = sized("w1")
    disliked["spec"]["taints"] = [{"key": "k", "effect": "PreferNoSchedule"}]
    liked = sized("w3")
    liked["metadata"]["labels"]["disk"] = "ssd"
    made = bench(disliked, sized("w2"), liked)
    made.create("pods", pod("any"))
    wish = {"key": "disk", "operator": "In", "values": ["ssd"]}
    preferred = [{"weight": 10, "preference": {"matchExpressions": [wish]}}]
    node_affinity = {"preferredDuringSchedulingIgnoredDuringExecution": preferred}
    for name in ("p", "q"):
        made.create("pods", pod(name, affinity={"nodeAffinity": node_affinity}))
    assert places(made) == {"any": "w2", "p": "w3", "q": "w3"}

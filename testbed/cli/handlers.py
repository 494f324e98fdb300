"""What a running lab does for the commands that reach it (see cli.daemon)."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.api.documents import Document, load_documents, load_file
from testbed.api.objects import Service
from testbed.errors import UsageError

if TYPE_CHECKING:
    from testbed.cli.daemon import Arguments, Handler, Tell
    from testbed.cluster import Cluster


def read_manifests(files: Sequence[str]) -> list[Document]:
    """The objects of `-f` files, `-` being standard input; raises UsageError."""
    found: list[Document] = []
    for name in files:
        documents = load_documents(sys.stdin.read(), "standard input") if name == "-" else None
        found += load_file(name) if documents is None else documents
    if files and not found:
        raise UsageError(f"{', '.join(files)}: no objects in it")
    return found


def _apply(cluster: Cluster, arguments: Arguments, tell: Tell) -> list[str]:
    return cluster.apply(arguments["documents"], tell=tell)


def _delete(cluster: Cluster, arguments: Arguments, tell: Tell) -> list[str]:
    return cluster.delete(arguments["documents"])


def _probe(cluster: Cluster, arguments: Arguments, tell: Tell) -> Any:
    from testbed.flow import path_to_json

    capture = arguments.pop("pcap", None)
    seen = cluster.observe(**arguments)
    if capture:
        from testbed.report.pcapng import write_frames

        try:
            with open(capture, "wb") as file:
                write_frames(file, seen.frames)
        except OSError as error:
            raise UsageError(f"{capture}: {error.strerror or error}") from None
    return path_to_json(seen.path)


def _resolve(cluster: Cluster, arguments: Arguments, tell: Tell) -> dict[str, Any]:
    found = cluster.resolve(arguments["source"], arguments["question"], arguments["kind"])
    return {
        "problem": found.problem,
        "answers": [record._asdict() | {"type": record.type.name} for record in found.answers],
        "queries": [str(exchange) for exchange in found.exchanges],
    }


def _impair(cluster: Cluster, arguments: Arguments, tell: Tell) -> list[str]:
    action, place = arguments.pop("action"), arguments.pop("place", "")
    match action:
        case "link":
            if arguments["down"]:
                cluster.cut(place, arguments["direction"])
            else:
                cluster.mend(place)
        case "node":
            (cluster.stop_node if arguments["down"] else cluster.start_node)(place)
        case "partition":
            cluster.partition(**arguments)
        case "set":
            cluster.impair(place, **arguments)
        case "clear":
            cluster.clear_impairments()
    silent_for = cluster.core.control.kubelet.nodes.silent_for
    nodes = cluster.node_names()
    stopped = cluster.in_loop(lambda: [name for name in nodes if silent_for(name) is not None])
    return sorted({*cluster.core.impairments.places, *stopped})


def _explain(cluster: Cluster, arguments: Arguments, tell: Tell) -> Any:
    from testbed.lab import evidence

    files, all_rules = arguments.pop("files"), arguments.pop("all_rules")
    found = cluster.explain(**arguments.pop("request"), **arguments)
    if file := files.get("html"):
        evidence.write_html(Path(file), cluster, found)
    if file := files.get("pcapng"):
        evidence.write_pcapng(Path(file), found)
    if file := files.get("bundle"):
        evidence.write_bundle(Path(file), cluster, found)
    return {
        "json": found.as_json(),
        "text": found.render(all_rules=all_rules),
        "agrees": found.agrees,
    }


def _mutate(cluster: Cluster, arguments: Arguments, tell: Tell) -> Any:
    from dataclasses import asdict

    from testbed.lab.mutate import unmissed

    return [asdict(rule) for rule in unmissed(cluster, rounds=arguments["rounds"], tell=tell)]


#: Live captures by key, to be stopped by another request.
_CAPTURES: dict[str, threading.Event] = {}


def _capture(cluster: Cluster, arguments: Arguments, tell: Tell) -> Any:
    from testbed.probe.bpf import compile_filter
    from testbed.probe.live import namespaces_of, record

    everything, chosen = cluster.fabric.namespaces(), arguments["interfaces"]
    namespaces = namespaces_of(chosen, everything) if chosen else everything
    program = compile_filter(arguments["filter"]) if arguments["filter"] else None
    stop = _CAPTURES.setdefault(arguments["key"], threading.Event())
    try:
        with Path(arguments["pipe"]).open("wb") as stream:
            found = record(namespaces, stream, stop, interfaces=chosen, program=program)
    except BrokenPipeError:
        return {"written": 0, "dropped": {}}
    finally:
        _CAPTURES.pop(arguments["key"], None)
    return {"written": found.written, "dropped": found.dropped}


def _capture_stop(cluster: Cluster, arguments: Arguments, tell: Tell) -> None:
    if stop := _CAPTURES.get(arguments["key"]):
        stop.set()


def _list(cluster: Cluster, arguments: Arguments, tell: Tell) -> Any:
    pods = {f"{pod.key.namespace}.{pod.key.name}": pod for pod in cluster.all_pods()}
    machines = {machine.name: machine for machine in cluster.topology.machines}
    rows = []
    for namespace in cluster.fabric.namespaces():
        pod, machine = pods.get(namespace.name), machines.get(namespace.name)
        role = f"Pod on {pod.node_name}" if pod else machine.role if machine else ""
        addresses = pod.ips if pod else machine.addresses if machine else ()
        rows.append({"name": namespace.name, "role": role, "addresses": list(addresses)})
    return {
        "topology": cluster.topology.name,
        "proxy": cluster.options.proxy,
        "namespaces": rows,
        "services": [_summary(service) for service in cluster.services()],
        "problems": cluster.in_loop(
            lambda: [*cluster.core.proxies.problems, *cluster.core.external.problems]
        ),
    }


def _summary(service: Service) -> dict[str, str]:
    ports = [
        f"{p.port}{f':{p.node_port}' if p.node_port else ''}/{p.protocol}" for p in service.ports
    ]
    outside = [entry.ip or entry.hostname for entry in service.ingress]
    return {
        "name": str(service.key),
        "type": service.type,
        "addresses": ", ".join([*service.cluster_ips, *service.external_ips, *outside]),
        "ports": ", ".join(ports),
    }


def _proxy_explain(cluster: Cluster, arguments: Arguments, tell: Tell) -> list[str]:
    return cluster.core.proxies.find(arguments["subject"], arguments["nodes"])


def _proxy_set(cluster: Cluster, arguments: Arguments, tell: Tell) -> list[str]:
    nodes = arguments["nodes"] or cluster.node_names()
    for node in nodes:
        cluster.set_proxy(arguments["mode"], node)
    return [f"{node}: {arguments['mode']}" for node in nodes]


HANDLERS: dict[str, Handler] = {
    "proxy-set": _proxy_set,
    "proxy-explain": _proxy_explain,
    "apply": _apply,
    "delete": _delete,
    "probe": _probe,
    "explain": _explain,
    "capture": _capture,
    "mutate": _mutate,
    "capture_stop": _capture_stop,
    "list": _list,
    "resolve": _resolve,
    "impair": _impair,
}

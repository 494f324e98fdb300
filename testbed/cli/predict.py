"""`testbed predict`: what a Service promises for a flow, from objects alone. No root, no lab."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from testbed.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from testbed.api.objects import Service
    from testbed.oracle.prediction import Cloud, Prediction
    from testbed.oracle.service_targets import Target
    from testbed.oracle.targets import Start
    from testbed.oracle.world import Settings, World

_EPILOG = """\
FROM: pod/NAME, node/NAME, client, an address. TO: svc/NAME[:PORT], svc/NAMESPACE/NAME,
NAME.NAMESPACE, pod/NAME:PORT, node/NAME:PORT, ADDRESS:PORT, localhost:PORT.
The file is a dump: kubectl get svc,endpointslices,nodes,pods,servicecidrs -A -o yaml
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `predict`."""
    parser = subparsers.add_parser(
        "predict",
        help="say what must happen to a flow, from a dump of a cluster's objects",
        description="Say which backends a flow may reach, under which source address, and why.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "-f",
        "--filename",
        action="append",
        required=True,
        metavar="FILE",
        help="objects; - : stdin",
    )
    add("start", metavar="FROM")
    add("target", metavar="TO")
    add("--port", default="", help="the port's number or name")
    add("--protocol", default="", choices=["tcp", "udp", "sctp", "icmp"], type=str.lower)
    add("-n", "--namespace", default="default", help="where names without a namespace are")
    add("--from-node", default="", metavar="NODE", help="the node that a packet enters first")
    add("--family", choices=["ipv4", "ipv6"], type=str.lower)
    add("--client-address", action="append", metavar="IP", help="the client's address(es)")
    add("--json", action="store_true")
    proxy = parser.add_argument_group("how the cluster is set up (not in its objects)")
    add = proxy.add_argument
    add("--proxy-mode", default="iptables", choices=["iptables", "nftables", "none"])
    add("--cluster-cidr", default="", metavar="CIDR[,CIDR]", help="default: the Pod CIDRs")
    add("--service-cidr", default="", metavar="CIDR[,CIDR]", help="default: ServiceCIDR objects")
    add("--detect-local-mode", default="ClusterCIDR", choices=list(_DETECT))
    add("--masquerade-all", action="store_true")
    add("--nodeport-addresses", default="", metavar="CIDR[,CIDR]", help="or: primary")
    add("--no-localhost-nodeports", action="store_true")
    add("--pods-masqueraded", action="store_true", help="the CNI masquerades Pods to other hosts")
    add("--balancer", choices=["nat", "dsr", "proxy"], help="default: by the address's ipMode")
    add("--balancer-address", default="", metavar="IP", help="its own, towards the nodes")
    add("--balancer-keeps-source", action="store_true", help="nat: the client's address stays")
    parser.set_defaults(run=run)


_DETECT = {
    "ClusterCIDR": "ClusterCIDR",
    "NodeCIDR": "NodeCIDR",
    "BridgeInterface": "Interface",
    "InterfaceNamePrefix": "Interface",
    "none": "none",
}


def run(args: argparse.Namespace) -> int:
    """Print the prediction; returns the exit code. Raises UsageError for what can't be answered."""
    from testbed.oracle.expectation import Place
    from testbed.oracle.prediction import predict
    from testbed.oracle.targets import parse, resolve_start, resolve_targets
    from testbed.oracle.text import describe

    world = _world(args)
    start = resolve_start(
        world,
        parse(args.start),
        namespace=args.namespace,
        entry=args.from_node,
        clients=_clients(args),
    )
    targets = resolve_targets(
        world,
        parse(args.target),
        port=args.port,
        protocol=args.protocol,
        namespace=args.namespace,
        outside=start.origin.place is Place.OUTSIDE,
    )
    targets = _of_one_family(start, targets, args)
    predictions = predict(world, start, targets, _cloud(args))
    unknown = _unknown(args, world, start, predictions)
    if args.json:
        print(json.dumps(_as_json(args, start, predictions, unknown), indent=2))
    else:
        print(describe(_heading(args, start, targets), predictions, unknown), end="")
    return EXIT_OK


def _world(args: argparse.Namespace) -> World:
    from testbed.api.documents import load_documents, load_file
    from testbed.oracle.dump import world_from

    documents = []
    for name in args.filename:
        documents += load_documents(sys.stdin.read(), "stdin") if name == "-" else load_file(name)
    kinds = {document["kind"] for document in documents}
    files = ", ".join(args.filename)
    if missing := [k for k in ("Service", "Node") if k not in kinds]:
        raise UsageError(
            f"{files}: no {' and no '.join(missing)} in it; "
            "dump with: kubectl get svc,endpointslices,nodes,pods -A -o yaml"
        )
    return world_from(documents, _settings(args))


def _settings(args: argparse.Namespace) -> Settings:
    from testbed.oracle.world import DetectLocal, Mode, Settings

    return Settings(
        mode=Mode(args.proxy_mode),
        cluster_cidrs=_listed(args.cluster_cidr),
        service_cidrs=_listed(args.service_cidr),
        detect_local=DetectLocal(_DETECT[args.detect_local_mode]),
        masquerade_all=args.masquerade_all,
        nodeport_addresses=_listed(args.nodeport_addresses),
        localhost_nodeports=not args.no_localhost_nodeports,
        pods_masqueraded=args.pods_masqueraded,
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(entry.strip() for entry in text.split(",") if entry.strip())


def _clients(args: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    from testbed.oracle.addresses import canonical
    from testbed.oracle.targets import DEFAULT_CLIENTS

    given = args.client_address or []
    for address in given:
        if not canonical(address):
            raise UsageError(f"--client-address {address}: not an IP address")
    return {"client": tuple(given)} if given else dict(DEFAULT_CLIENTS)


def _cloud(args: argparse.Namespace) -> Cloud:
    from testbed.oracle.addresses import canonical
    from testbed.oracle.balancer import BalancerKind
    from testbed.oracle.prediction import Cloud

    if args.balancer_address and not canonical(args.balancer_address):
        raise UsageError(f"--balancer-address {args.balancer_address}: not an IP address")
    kind = BalancerKind(args.balancer) if args.balancer else None
    return Cloud(kind, args.balancer_address, args.balancer_keeps_source)


def _of_one_family(start: Start, targets: list[Target], args: argparse.Namespace) -> list[Target]:
    """The targets of --family, or else of the families that the start has an address of."""
    has = sorted({t.family for t in targets})
    if args.family:
        wanted = {"ipv4": "IPv4", "ipv6": "IPv6"}[args.family]
        if wanted not in has:
            raise UsageError(f"{args.target} has no {wanted} address, only {' and '.join(has)}")
        return [t for t in targets if t.family == wanted]
    both = [t for t in targets if start.address(t.family) or t.address in ("127.0.0.1", "::1")]
    if not both:
        raise UsageError(
            f"{args.target} has no address of {start.label}'s family, only {' and '.join(has)}"
        )
    return both


def _heading(args: argparse.Namespace, start: Start, targets: list[Target]) -> str:
    families = list(dict.fromkeys(t.family for t in targets))
    address = ", ".join(filter(None, map(start.address, families)))
    where = "outside" if start.origin.place == "outside" else f"on {start.origin.node}"
    source = f"{start.label} ({where if address in ('', start.label) else f'{address}, {where}'})"
    service, target = targets[0].service, targets[0]
    what = f"svc/{service.key.name}" if service else args.target
    if len(targets) == 1:
        kind = f"{target.what} " if service else ""
        address = f"{kind}{target}/{target.protocol}"
        what = address if str(target) == what else f"{what}, {address}"
    notes = [*(_policies(service) if service else ()), f"{args.proxy_mode} mode"]
    return f"{source} → {what} ({', '.join(notes)})"


def _policies(service: Service) -> list[str]:
    """Type and whatever else of the spec bends the path."""
    words = ["headless" if service.headless else f"type {service.type}"]
    if service.external_traffic_policy == "Local":
        words.append("externalTrafficPolicy: Local")
    if service.internal_traffic_policy == "Local":
        words.append("internalTrafficPolicy: Local")
    return words


def _unknown(
    args: argparse.Namespace, world: World, start: Start, predictions: list[Prediction]
) -> list[str]:
    """What the answer assumes, or leaves open, because no object says it."""
    entries = ["whether the Pods listen, NetworkPolicies, host firewalls"]
    if not world.slices:
        entries.insert(0, "endpoints: there is no EndpointSlice in the file")
    if not args.cluster_cidr and args.detect_local_mode == "ClusterCIDR":
        entries.append("kube-proxy's --cluster-cidr: taken from the nodes' and Pods' addresses")
    leaves = any(len(p.expectation.entered) > 1 for p in predictions)
    if start.origin.place == "pod" and leaves and not args.pods_masqueraded:
        entries.append(
            "the Pod network (CNI): taken not to masquerade Pods to other nodes "
            "(--pods-masqueraded if it does)"
        )
    if any(p.via for p in predictions) and not args.balancer:
        kinds = " and ".join(sorted({str(p.via) for p in predictions if p.via}))
        entries.append(f"the cloud's load balancer: taken as {kinds} by ipMode (--balancer)")
    service = predictions[0].target.service
    if service and service.type == "LoadBalancer" and not service.ingress:
        entries.append("the load balancer's address: the status has none yet")
    entries += [
        f"where {ingress.hostname} leads: kube-proxy has no rule for a hostname"
        for ingress in (service.ingress if service else ())
        if ingress.hostname
    ]
    return entries


def _as_json(
    args: argparse.Namespace, start: Start, predictions: list[Prediction], unknown: list[str]
) -> dict[str, Any]:
    return {
        "from": {
            "name": start.label,
            "place": str(start.origin.place),
            "node": start.origin.node or None,
            "addresses": list(start.addresses),
        },
        "to": args.target,
        "mode": args.proxy_mode,
        "flows": [prediction.as_json() for prediction in predictions],
        "unknown": unknown,
    }

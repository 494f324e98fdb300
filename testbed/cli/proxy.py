"""`testbed proxy`: the rules that kube-proxy would install, and what they mean. Needs no root."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.cli.options import add_lab
from testbed.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from testbed.proxy.changes import ProxyState
    from testbed.proxy.inputs import RuleSet, World

FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}
MODES = ("iptables", "nftables")
_SUFFIX = {"iptables": "iptables", "nftables": "nft"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb and its two actions."""
    parser = subparsers.add_parser(
        "proxy", help="kube-proxy's rules for a file of objects, and what a rule means"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    render = actions.add_parser(
        "render",
        help="print the rules",
        description="Print what iptables-save (without counters) or `nft -s list table` would "
        "print on a node after kube-proxy 1.36 has synced these objects.",
    )
    _add_objects(render)
    render.add_argument("-o", "--output", metavar="DIR", help="write NODE.FAMILY.MODE files there")
    _add_settings(render)
    change = actions.add_parser(
        "set",
        help="change the proxy mode of a running lab, or of some of its nodes",
        description="Change the proxy mode of a running lab's nodes; the other mode's rules go.",
    )
    change.add_argument("mode", choices=[*MODES, "none"])
    change.add_argument("--node", action="append", default=[], help="only this one; repeats")
    add_lab(change)
    explain = actions.add_parser(
        "explain",
        help="say what a chain, set or element stands for",
        description="Name the Service, port and endpoint behind a chain, a set, a map element or "
        "an address, and print the rules that lead there. A prefix of a name will do.",
    )
    explain.add_argument("name", help="KUBE-SEP-XQWD6PXGZUTOOIVQ, affinity-…, 10.96.10.1:80 …")
    explain.add_argument("--lab", metavar="NAME", help="in this running lab, instead of -f")
    _add_objects(explain)
    _add_settings(explain)


def run(args: argparse.Namespace) -> int:
    """Run the action that `args` name; returns the exit code."""
    if args.action == "set":
        return _set(args)
    return _render(args) if args.action == "render" else _explain(args)


def _set(args: argparse.Namespace) -> int:
    from testbed.cli import daemon

    for line in daemon.ask(args.lab, "proxy-set", mode=args.mode, nodes=args.node):
        print(line)
    return EXIT_OK


def _add_objects(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f",
        "--filename",
        metavar="FILE",
        action="append",
        default=[],
        help="objects as YAML or JSON; `-` is standard input; repeats",
    )
    parser.add_argument(
        "--node", metavar="NODE", action="append", help="on which node; repeats; default: all"
    )
    parser.add_argument(
        "--mode",
        "--proxy-mode",
        choices=[*MODES, "all"],
        help="default: render iptables, or what --config says; explain all",
    )
    parser.add_argument(
        "--family", choices=[*FAMILIES, "all"], help="default: render ipv4; explain all"
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("kube-proxy's settings")
    group.add_argument("--config", metavar="FILE", help="a KubeProxyConfiguration; options win")
    group.add_argument(
        "--cluster-cidr", metavar="CIDRS", help="default 10.244.0.0/16,fd00:10:244::/56"
    )
    group.add_argument("--detect-local-mode", metavar="MODE", help="ClusterCIDR, NodeCIDR, …")
    group.add_argument("--pod-bridge-interface", metavar="NAME")
    group.add_argument("--pod-interface-name-prefix", metavar="PREFIX")
    group.add_argument("--nodeport-addresses", metavar="CIDRS", help="CIDRs, or primary")
    _add_flag(group, "--masquerade-all")
    _add_flag(group, "--iptables-localhost-nodeports")
    group.add_argument("--iptables-masquerade-bit", metavar="BIT", type=int)
    _add_flag(group, "--conntrack-tcp-be-liberal")
    group = parser.add_argument_group("the rest of the cluster")
    group.add_argument(
        "--service-cluster-ip-range",
        metavar="CIDRS",
        help="where no ServiceCIDR object says it; default 10.96.0.0/16,fd00:10:96::/112",
    )
    _add_flag(group, "--nfacct", "whether the node's kernel has nfacct counters; default true")


def _add_flag(group: argparse._ArgumentGroup, name: str, help_text: str | None = None) -> None:
    """A boolean as Go has it: `--flag`, `--flag=true`, `--flag=false`."""
    group.add_argument(
        name, nargs="?", const=True, type=_boolean, metavar="true|false", help=help_text
    )


def _boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered not in ("true", "false", "1", "0", "t", "f"):
        raise argparse.ArgumentTypeError(f"{text!r}: use true or false")
    return lowered in ("true", "1", "t")


@dataclass(frozen=True)
class _Output:
    node: str
    family: str
    mode: str

    @property
    def file_name(self) -> str:
        return f"{self.node}.{self.family}.{_SUFFIX[self.mode]}"


def _render(args: argparse.Namespace) -> int:
    world = _world(args)
    modes = MODES if args.mode == "all" else (args.mode or world.config.mode,)
    outputs = _outputs(args, world, modes, "ipv4")
    problems = dict.fromkeys(world.unreadable)
    for output, rules, state in _rendered(world, outputs):
        problems.update(dict.fromkeys(state.problems))
        if args.output:
            _write(Path(args.output), output.file_name, rules.text())
            continue
        if len(outputs) > 1:
            print(f"# {output.file_name}")
        sys.stdout.write(rules.text())
    return _finish(problems)


def _explain(args: argparse.Namespace) -> int:
    if args.lab is not None:
        return _explain_in_lab(args)
    from testbed.proxy.explain import Explainer

    world = _world(args)
    modes = MODES if args.mode in (None, "all") else (args.mode,)
    problems = dict.fromkeys(world.unreadable)
    found = []
    for output, rules, state in _rendered(world, _outputs(args, world, modes, "all")):
        problems.update(dict.fromkeys(state.problems))
        for explanation in Explainer(rules, state).find(args.name):
            found.append(f"{output.node} {output.family} {output.mode}: {explanation}")
    _print_found(args.name, found)
    return _finish(problems)


def _explain_in_lab(args: argparse.Namespace) -> int:
    from testbed.cli import daemon

    if args.filename:
        raise UsageError("--lab and -f: one of them")
    found = daemon.ask(args.lab, "proxy-explain", subject=args.name, nodes=args.node)
    _print_found(args.name, found)
    return EXIT_OK


def _print_found(name: str, found: list[str]) -> None:
    if not found:
        raise UsageError(f"no chain, set, element or address here is named {name!r}, or so")
    print("\n\n".join(found))


def _outputs(
    args: argparse.Namespace, world: World, modes: tuple[str, ...], default_family: str
) -> list[_Output]:
    family = args.family or default_family
    families = list(FAMILIES) if family == "all" else [family]
    nodes = args.node or sorted(world.nodes)
    if not nodes:
        raise UsageError("the objects hold no Node to render for")
    return [_Output(node, name, mode) for node in nodes for name in families for mode in modes]


def _rendered(
    world: World, outputs: list[_Output]
) -> Iterator[tuple[_Output, RuleSet, ProxyState]]:
    """The rules of every output; modes of one instance share its state."""
    from testbed.proxy.inputs import render_rules

    instances = {
        (output.node, output.family): world.instance(output.node, FAMILIES[output.family])
        for output in outputs
    }
    states: dict[tuple[str, str], ProxyState] = {}
    for output in outputs:
        key = output.node, output.family
        if key not in states:
            states = {key: world.state(output.node, FAMILIES[output.family])}
        yield output, render_rules(instances[key], states[key], output.mode), states[key]


def _write(directory: Path, name: str, text: str) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    except OSError as error:
        raise UsageError(f"{directory / name}: {error.strerror or error}") from None


def _finish(problems: Iterable[str]) -> int:
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    return EXIT_OK


def _world(args: argparse.Namespace) -> World:
    from testbed.proxy.config import split_list
    from testbed.proxy.inputs import read_world

    cidrs = args.service_cluster_ip_range
    return read_world(
        args.filename,
        sys.stdin,
        config_file=args.config,
        settings=_settings(args),
        service_cidrs=split_list(cidrs) if cidrs is not None else None,
    )


def _settings(args: argparse.Namespace) -> dict[str, object]:
    """The options that were given, under the configuration's names."""
    from testbed.proxy.config import split_list

    def cidrs(text: str | None) -> tuple[str, ...] | None:
        return None if text is None else split_list(text)

    given = {
        "cluster_cidr": cidrs(args.cluster_cidr),
        "detect_local_mode": args.detect_local_mode,
        "bridge_interface": args.pod_bridge_interface,
        "interface_name_prefix": args.pod_interface_name_prefix,
        "node_port_addresses": cidrs(args.nodeport_addresses),
        "localhost_node_ports": args.iptables_localhost_nodeports,
        "iptables.masquerade_all": args.masquerade_all,
        "nftables.masquerade_all": args.masquerade_all,
        "iptables.masquerade_bit": args.iptables_masquerade_bit,
        "conntrack.tcp_be_liberal": args.conntrack_tcp_be_liberal,
        "nfacct": args.nfacct,
    }
    return {name: value for name, value in given.items() if value is not None}

"""Options that several verbs share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from testbed.errors import UsageError
from testbed.naming import DEFAULT_LAB


def add_lab(parser: argparse.ArgumentParser) -> None:
    """`--lab NAME`."""
    parser.add_argument(
        "--lab",
        default=DEFAULT_LAB,
        metavar="NAME",
        help=f"name of the lab (default {DEFAULT_LAB})",
    )


def add_lab_or_name(
    parser: argparse.ArgumentParser, about: str = "the lab", default: str | None = DEFAULT_LAB
) -> None:
    """The lab as `NAME` or as `--lab NAME`, whichever; giving both is refused."""
    shown = f" (default {default})" if default else ""
    group = parser.add_mutually_exclusive_group()
    # A word that is left out comes after the options: its default would take an option's place.
    group.add_argument(
        "lab", nargs="?", default=argparse.SUPPRESS, metavar="NAME", help=f"{about}{shown}"
    )
    group.add_argument("--lab", default=default, metavar="NAME", help="the same, as an option")


def add_proxy_command(parser: argparse.ArgumentParser) -> None:
    """`--proxy-command`, `--proxy-config`, `--proxy-quiet`."""
    parser.add_argument(
        "--proxy-command",
        default="",
        metavar="COMMAND",
        help="a program that is every node's proxy, such as 'kube-proxy --config {config}' "
        "(docs/external-proxy.md)",
    )
    parser.add_argument(
        "--proxy-config",
        metavar="FILE",
        help="a KubeProxyConfiguration, or kubeadm's ConfigMap kube-proxy: its fields stand over "
        "those of {config}",
    )
    parser.add_argument(
        "--proxy-quiet",
        type=float,
        default=0.5,
        metavar="SECONDS",
        help="it has caught up when the rules have been the same for so long (0.5)",
    )


def proxy_command_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Those as keyword arguments of Cluster; the program needs the API server.

    Raises UsageError.
    """
    if not args.proxy_command:
        if args.proxy_config:
            raise UsageError("--proxy-config: it is for a --proxy-command")
        return {}
    settings = {
        "proxy_command": args.proxy_command,
        "proxy_quiet": args.proxy_quiet,
        "api": True,
    }
    if args.proxy_config:
        from testbed.api.documents import load_file
        from testbed.proxy.external.configuration import own_configuration

        documents = load_file(Path(args.proxy_config))
        settings["proxy_config"] = own_configuration(documents, args.proxy_config)
    return settings


def add_lab_settings(parser: argparse.ArgumentParser) -> None:
    """The settings of a new lab."""
    parser.add_argument(
        "--proxy",
        action="append",
        default=[],
        metavar="[NODE=]MODE",
        help="proxy mode of the lab or of one node: iptables (default), nftables or none",
    )
    parser.add_argument(
        "--pod-network",
        default="routes",
        metavar="DRIVER",
        help="Pod network: routes (default), bridge or vxlan",
    )
    parser.add_argument(
        "--cloud",
        default="",
        metavar="PLANE",
        help="the load balancers' data plane: nat (default), nat-masquerade, dsr or proxy",
    )
    add_proxy_command(parser)
    parser.add_argument("--no-cloud", action="store_true", help="leave LoadBalancers pending")


def lab_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings as keyword arguments of Cluster; raises UsageError."""
    settings: dict[str, Any] = {
        "pod_network": args.pod_network,
        "node_proxies": {},
        **proxy_command_settings(args),
    }
    for word in args.proxy:
        node, equals, mode = word.rpartition("=")
        if equals:
            settings["node_proxies"][node] = mode
        elif "proxy" in settings:
            raise UsageError(f"--proxy {word}: a mode for the whole lab is given already")
        else:
            settings["proxy"] = mode
    if args.no_cloud and args.cloud:
        raise UsageError(f"--cloud {args.cloud} and --no-cloud: one or the other")
    if args.no_cloud or args.cloud:
        settings["cloud"] = args.cloud or "none"
    return settings

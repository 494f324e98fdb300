"""A lab's Pod network and its load balancer's site, from its topology."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from testbed.cloud.dataplane import Site
from testbed.control.podnet import ClusterNetworks, PodNetwork, pod_network
from testbed.emu.spec import Machine, TopologySpec
from testbed.fabric.fabric import Fabric
from testbed.lab.options import LabOptions


def pod_network_of(options: LabOptions, topology: TopologySpec) -> PodNetwork:
    """The Pod network that was asked for; machines in the nodes' network aren't its nodes."""
    nodes = topology.networks.nodes
    inside = [ipaddress.ip_network(cidr) for cidr in nodes]
    strangers = tuple(
        address
        for machine in topology.machines
        if machine.role != "node"
        for address in machine.addresses
        if any(ipaddress.ip_address(address) in network for network in inside)
    )
    networks = ClusterNetworks(options.cluster_cidrs, options.service_cidrs, nodes, strangers)
    return pod_network(options.pod_network, networks)


def site_of(fabric: Fabric, topology: TopologySpec, balancer: Machine, directory: Path) -> Site:
    """Where a balancer of the topology stands: its cable to the router, and the VIPs it serves."""
    device = balancer.interfaces[0]
    router = topology.machine(device.peer)
    other = next(i for i in router.interfaces if i.peer == balancer.name)
    return Site(
        balancer=fabric.namespace(balancer.name),
        balancer_device=device.name,
        balancer_addresses=balancer.addresses,
        router=fabric.namespace(router.name),
        router_device=other.name,
        ranges=topology.networks.vips,
        directory=directory,
    )

"""The control plane of a lab, put together: store, registry, controllers, kubelet."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.api.admission import Admission, Settings
from testbed.clock import Clock
from testbed.control.client import RegistryClient
from testbed.control.controllers.base import Manager
from testbed.control.controllers.daemonset import DaemonSetController
from testbed.control.controllers.deployment import DeploymentController
from testbed.control.controllers.endpoints import EndpointsController
from testbed.control.controllers.endpointslice import EndpointSliceController
from testbed.control.controllers.garbage import GarbageCollector
from testbed.control.controllers.ip_address_repair import IPAddressRepair
from testbed.control.controllers.mirroring import EndpointSliceMirroringController
from testbed.control.controllers.namespace import NamespaceController
from testbed.control.controllers.node_lifecycle import NodeLifecycleController
from testbed.control.controllers.replicaset import ReplicaSetController
from testbed.control.controllers.scheduler import Scheduler
from testbed.control.controllers.service_cidr import ServiceCIDRController
from testbed.control.controllers.statefulset import StatefulSetController
from testbed.control.journal import Journal
from testbed.control.kubelet import Kubelet
from testbed.control.registry import Registry
from testbed.control.restore import restore
from testbed.control.store import Store
from testbed.lab.options import LabOptions
from testbed.runtime.sandboxes import Sandboxes

if TYPE_CHECKING:
    from testbed.lab.twin import Twin


@dataclass(slots=True)
class ControlPlane:
    """Store, registry and controllers of one lab."""

    store: Store
    registry: Registry
    manager: Manager
    client: RegistryClient
    kubelet: Kubelet
    lifecycle: NodeLifecycleController


def control_plane(
    options: LabOptions,
    directory: Path,
    clock: Clock,
    sandboxes: Sandboxes,
    source: random.Random,
    wake: Callable[[], None],
    twin: Twin | None,
) -> ControlPlane:
    """Make the control plane of a lab whose run directory is `directory`.

    A journal that is there already is taken up, its allocations with it. In a `twin`, recorded Pods
    and slices stay as they were recorded. `wake` is the manager's.
    """
    store = Store(clock, Journal(directory) if options.keep else None)
    admission = Admission(Settings(service_cidrs=options.service_cidrs), rng=source)
    restore(store, admission)
    registry = Registry(store, admission, clock, source=source)
    client = RegistryClient(registry, clock)
    manager = Manager(store, clock, wake)
    kubelet = Kubelet(client.acting_as("kubelet"), sandboxes)
    slices = EndpointSliceController(client.acting_as("endpoint-slice-controller"))
    if twin is not None:
        from testbed.lab.twinning import TwinKubelet, TwinSlices, recorded_pods, recorded_slices

        kubelet = TwinKubelet(client.acting_as("kubelet"), sandboxes, recorded_pods(twin))
        slices = TwinSlices(client.acting_as("endpoint-slice-controller"), recorded_slices(twin))
    lifecycle = NodeLifecycleController(
        client.acting_as("node-controller"),
        kubelet.nodes.silent_for,
        client.acting_as("taint-eviction-controller"),
    )
    sandboxes.exited = kubelet.exited
    manager.add(
        DeploymentController(client.acting_as("deployment-controller")),
        ReplicaSetController(client.acting_as("replicaset-controller")),
        StatefulSetController(client.acting_as("statefulset-controller")),
        DaemonSetController(client.acting_as("daemonset-controller")),
        Scheduler(client.acting_as("default-scheduler")),
        kubelet,
        slices,
        EndpointsController(client.acting_as("endpoint-controller")),
        EndpointSliceMirroringController(client.acting_as("endpoint-slice-mirroring-controller")),
        ServiceCIDRController(client),
        IPAddressRepair(client.acting_as("ipallocator-repair-controller")),
        lifecycle,
        NamespaceController(client),
        GarbageCollector(client.acting_as("garbage-collector-controller")),
    )
    return ControlPlane(store, registry, manager, client, kubelet, lifecycle)

"""What is particular to each kind on a write: defaults, preparation, validation, warnings.

`STRATEGIES` is keyed by (group, resource). The order in which the parts run is `admission`'s.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from testbed.api import warn, warn_pod
from testbed.api.defaults import plain, pod, pod_admission, service, workloads
from testbed.api.documents import Document
from testbed.api.service_fields import external_name
from testbed.api.service_strategy import drop_type_dependent
from testbed.api.status import FieldError
from testbed.api.subsets import repack
from testbed.api.validation import daemon_sets as daemon_set_rules
from testbed.api.validation import endpoints as endpoint_rules
from testbed.api.validation import events as event_rules
from testbed.api.validation import networking as networking_rules
from testbed.api.validation import nodes as node_rules
from testbed.api.validation import plain as plain_rules
from testbed.api.validation import pod as pod_rules
from testbed.api.validation import service as service_rules
from testbed.api.validation import stateful_sets as stateful_set_rules
from testbed.api.validation import workloads as workload_rules

Errors: TypeAlias = list[FieldError]

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
NAMESPACE_FINALIZER = "kubernetes"

_NETWORKING = "networking.k8s.io"


def _nothing_to_do(document: Document, old: Document | None) -> None:
    """A kind without preparation, or in one layout only."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an object that has a subresource: `keep` makes the rest the stored object's."""

    keep: Callable[[Document, Document], None]
    validate: Callable[[Document, Document], Errors]


@dataclass(frozen=True, slots=True)
class Strategy:
    """One kind's own behaviour.

    A kind with `update_status` has a status subresource: status isn't written with the object,
    unless `status_on_create` lets a new object bring one (a kubelet's Node does). With
    `status_alone`, a write of status leaves the metadata as it is.
    `prepare` runs before validation, `canonicalize` after; both get the stored object on an update,
    None on a create. `prepare_status` does it for a write of status.
    """

    create: Callable[[Document], Errors]
    update: Callable[[Document, Document], Errors]
    update_status: Callable[[Document, Document], Errors] | None = None
    defaults: Callable[[Document], None] = plain.nothing
    prepare: Callable[[Document, Document | None], None] = _nothing_to_do
    canonicalize: Callable[[Document, Document | None], None] = _nothing_to_do
    warnings: Callable[[Document, Document | None], list[str]] = warn.nothing
    status_warnings: Callable[[Document, Document | None], list[str]] = warn.nothing
    status_on_create: bool = False
    status_alone: bool = False
    prepare_status: Callable[[Document, Document | None], None] = _nothing_to_do
    #: What a write of another subresource than status may change, and its validation.
    subresources: Mapping[str, Part] = field(default_factory=dict)


def keep_status(document: Document, old: Document | None) -> None:
    """Make status the stored object's, or drop it."""
    document.pop("status", None)
    if old is not None and "status" in old:
        document["status"] = copy.deepcopy(old["status"])


def _service(document: Document, old: Document | None) -> None:
    if old is not None:
        drop_type_dependent(document, old)


def _stored_service(document: Document, old: Document | None) -> None:
    """An ExternalName has no traffic of its own to have a policy for."""
    if external_name(document):
        document["spec"].pop("internalTrafficPolicy", None)


def _pod(document: Document, old: Document | None) -> None:
    spec = document["spec"]
    if old is not None:
        pod_admission.admit_changed_pod(document, old)
        pod_admission.drop_gated_fields(spec, old["spec"])
        return
    pod_admission.admit_pod(document)
    document["status"] = {"phase": "Pending", "qosClass": pod_admission.quality_of_service(spec)}
    pod_admission.drop_gated_fields(spec)
    if spec.get("schedulingGates"):
        document["status"]["conditions"] = [pod_admission.gated_condition()]
    pod_admission.merge_label_keys(document)
    pod_admission.take_app_armor_annotations(document)


def _ephemeral_containers_alone(document: Document, old: Document) -> None:
    """Source: pkg/registry/core/pod/strategy.go dropNonEphemeralContainerUpdates."""
    added = document["spec"].get("ephemeralContainers")
    document["metadata"] = copy.deepcopy(old["metadata"])
    document["spec"] = copy.deepcopy(old["spec"])
    document["spec"].pop("ephemeralContainers", None)
    if added:
        document["spec"]["ephemeralContainers"] = added
    keep_status(document, old)


def _validated_pod(document: Document, old: Document | None) -> None:
    """Admission that comes after validation."""
    if old is None:
        pod_admission.check_overhead(document)


def _workload(document: Document, old: Document | None) -> None:
    """A workload's template, without what is off."""
    before = None if old is None else _template_spec(old)
    pod_admission.drop_gated_fields(_template_spec(document), before)


def _template_object(document: Document, old: Document | None) -> None:
    """A PodTemplate, without what is off."""
    before = None if old is None else old.get("template", {}).get("spec", {})
    spec = document.get("template", {}).get("spec", {})
    pod_admission.drop_gated_fields(spec, before)


def _template_spec(document: Document) -> Document:
    found: Document = document["spec"].get("template", {}).get("spec", {})
    return found


def _namespace(document: Document, old: Document | None) -> None:
    """Finalizers come and go by the finalize subresource; phase with deletion."""
    if old is None:
        document["status"] = {"phase": "Active"}
        finalizers = document.setdefault("spec", {}).setdefault("finalizers", [])
        if NAMESPACE_FINALIZER not in finalizers:
            finalizers.append(NAMESPACE_FINALIZER)
    else:
        document["spec"] = copy.deepcopy(old.get("spec", {}))


def _node(document: Document, old: Document | None) -> None:
    """podCIDR is the first of podCIDRs; where they differ, podCIDR is right."""
    spec = document.setdefault("spec", {})
    first, every = spec.get("podCIDR"), spec.get("podCIDRs")
    if first and (not every or every[0] != first):
        spec["podCIDRs"] = [first]
    elif every:
        spec["podCIDR"] = every[0]


def _service_account(document: Document, old: Document | None) -> None:
    """Secrets are known by their names alone."""
    for i, reference in enumerate(document.get("secrets", ())):
        document["secrets"][i] = {"name": reference["name"]} if "name" in reference else {}


def _lease(document: Document, old: Document | None) -> None:
    """Coordinated leader election is off: its fields stay only where they are already."""
    stored = {} if old is None else old.get("spec", {})
    for name in ("strategy", "preferredHolder"):
        if stored.get(name) is None:
            document.get("spec", {}).pop(name, None)


def _daemon_set(document: Document, old: Document | None) -> None:
    """Count template changes in the annotation that stands for the old field."""
    _workload(document, old)
    generation = 1
    if old is not None:
        stored = old["metadata"].get("annotations", {}).get(TEMPLATE_GENERATION, "1")
        same = document["spec"].get("template") == old["spec"].get("template")
        generation = int(stored) + (0 if same else 1)
    annotations = document["metadata"].setdefault("annotations", {})
    annotations[TEMPLATE_GENERATION] = str(generation)


def _endpoints(document: Document, old: Document | None) -> None:
    """Endpoints are stored in one layout, however they are written."""
    document["subsets"] = repack(document.get("subsets") or [])


def _endpoint_slice(document: Document, old: Document | None) -> None:
    """`deprecatedTopology` can't be written by v1."""
    for endpoint in document.get("endpoints") or ():
        endpoint.pop("deprecatedTopology", None)


def _core_strategies() -> dict[tuple[str, str], Strategy]:
    return {
        ("", "configmaps"): Strategy(plain_rules.config_map, plain_rules.config_map_update),
        ("", "endpoints"): Strategy(
            endpoint_rules.create,
            endpoint_rules.update,
            defaults=service.endpoints,
            canonicalize=_endpoints,
            warnings=warn.endpoints,
        ),
        ("", "events"): Strategy(event_rules.event, event_rules.event_update),
        ("", "namespaces"): Strategy(
            plain_rules.namespace,
            plain_rules.namespace_update,
            plain_rules.namespace_status,
            plain.namespace,
            _namespace,
        ),
        ("", "nodes"): Strategy(
            node_rules.create,
            node_rules.update,
            node_rules.update_status,
            prepare=_node,
            warnings=warn.node,
            status_on_create=True,
        ),
        ("", "pods"): Strategy(
            pod_rules.create,
            pod_rules.update,
            pod_rules.update_status,
            pod.pod,
            _pod,
            _validated_pod,
            warn_pod.pod,
            warn_pod.pod_status,
            prepare_status=pod_admission.keep_known_status,
            subresources={
                "ephemeralcontainers": Part(
                    _ephemeral_containers_alone, pod_rules.update_ephemeral_containers
                )
            },
        ),
        ("", "podtemplates"): Strategy(
            workload_rules.template_object,
            workload_rules.template_object_update,
            defaults=workloads.template_object,
            prepare=_template_object,
        ),
        ("", "secrets"): Strategy(
            plain_rules.secret, plain_rules.secret_update, defaults=plain.secret
        ),
        ("", "serviceaccounts"): Strategy(
            plain_rules.service_account,
            plain_rules.service_account_update,
            prepare=_service_account,
            warnings=warn.service_account,
        ),
        ("", "services"): Strategy(
            service_rules.create,
            service_rules.update,
            service_rules.update_status,
            service.service,
            _service,
            _stored_service,
            warn.service,
            warn.service_status,
        ),
        ("coordination.k8s.io", "leases"): Strategy(
            plain_rules.lease, plain_rules.lease_update, prepare=_lease
        ),
        ("events.k8s.io", "events"): Strategy(event_rules.new_event, event_rules.new_event_update),
    }


def _workload_strategies() -> dict[tuple[str, str], Strategy]:
    return {
        ("apps", "controllerrevisions"): Strategy(
            workload_rules.controller_revision, workload_rules.controller_revision_update
        ),
        ("apps", "daemonsets"): Strategy(
            daemon_set_rules.daemon_set,
            daemon_set_rules.daemon_set_update,
            daemon_set_rules.daemon_set_status,
            workloads.daemon_set,
            _daemon_set,
            warnings=warn_pod.template,
        ),
        ("apps", "deployments"): Strategy(
            workload_rules.deployment,
            workload_rules.deployment_update,
            workload_rules.deployment_status,
            workloads.deployment,
            _workload,
            warnings=warn_pod.workload,
        ),
        ("apps", "replicasets"): Strategy(
            workload_rules.replica_set,
            workload_rules.replica_set_update,
            workload_rules.replica_set_status,
            workloads.replica_set,
            _workload,
            warnings=warn_pod.workload,
        ),
        ("apps", "statefulsets"): Strategy(
            stateful_set_rules.stateful_set,
            stateful_set_rules.stateful_set_update,
            stateful_set_rules.stateful_set_status,
            workloads.stateful_set,
            _workload,
            warnings=warn_pod.template,
        ),
    }


def _network_strategies() -> dict[tuple[str, str], Strategy]:
    return {
        ("discovery.k8s.io", "endpointslices"): Strategy(
            endpoint_rules.slice_create,
            endpoint_rules.slice_update,
            defaults=service.endpoint_slice,
            prepare=_endpoint_slice,
            warnings=warn.endpoint_slice,
        ),
        (_NETWORKING, "ingressclasses"): Strategy(
            networking_rules.ingress_class,
            networking_rules.ingress_class_update,
            defaults=plain.ingress_class,
        ),
        (_NETWORKING, "ingresses"): Strategy(
            networking_rules.ingress,
            networking_rules.ingress_update,
            networking_rules.ingress_status,
            warnings=warn.ingress,
        ),
        (_NETWORKING, "ipaddresses"): Strategy(
            networking_rules.ip_address, networking_rules.ip_address_update
        ),
        (_NETWORKING, "servicecidrs"): Strategy(
            networking_rules.service_cidr,
            networking_rules.service_cidr_update,
            networking_rules.service_cidr_status,
            status_on_create=True,
            status_alone=True,
        ),
    }


STRATEGIES: dict[tuple[str, str], Strategy] = {
    **_core_strategies(),
    **_workload_strategies(),
    **_network_strategies(),
}

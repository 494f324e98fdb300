"""Subresources that have a verb of their own: eviction and binding of Pods, ServiceAccount tokens.

Sources: pkg/registry/core/pod/storage/{eviction,storage}.go, pkg/apis/core/validation.
"""

from __future__ import annotations

from dataclasses import replace

from testbed.api import status
from testbed.api.documents import Document, copy_document, name_of
from testbed.api.resources import ResourceType
from testbed.control.apiserver.call import Call
from testbed.control.apiserver.options import checked_delete, write_options
from testbed.control.apiserver.requests import body_media, read_object
from testbed.control.apiserver.tokens import ServiceAccountTokens
from testbed.control.envelope import prepared
from testbed.control.registry import Registry

EVICTION = ResourceType("policy", "v1", "evictions", "Eviction", namespaced=True)
BINDING = ResourceType("", "v1", "bindings", "Binding", namespaced=True)
TOKEN_REQUEST = ResourceType(
    "authentication.k8s.io", "v1", "tokenrequests", "TokenRequest", namespaced=True
)
_KINDS = {"eviction": EVICTION, "binding": BINDING, "token": TOKEN_REQUEST}
#: Labels that a binding may give its Pod. Source: copyLabelsWithoutOverride, podtopologylabels.
_TOPOLOGY = "topology.kubernetes.io/"


class Subresources:
    """Answers a POST to a subresource. Raises StatusError."""

    def __init__(self, registry: Registry, tokens: ServiceAccountTokens) -> None:
        self._registry = registry
        self._tokens = tokens

    def post(self, call: Call) -> Document:
        """Do what the body asks for: the answer's document (code 201)."""
        kind = _KINDS.get(call.target.subresource)
        if kind is None:
            raise call.not_allowed()
        options = write_options(call.query, call.agent, "Create")
        sent, _ = read_object(
            call.body, body_media(call.content_type), kind, options.field_validation
        )
        sent = prepared(kind, sent, call.namespace)
        if kind is TOKEN_REQUEST:
            account = self._registry.get(call.resource, call.namespace, call.target.name)
            return self._tokens.request(account, sent)
        if sent["metadata"].get("name") != call.target.name:
            words = f"name in URL does not match name in {kind.kind} object"
            raise status.bad_request(words)
        if kind is EVICTION:
            self._evict(call, sent, dry_run=options.dry_run)
        else:
            self._bind(call, sent, dry_run=options.dry_run)
        answer = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return {**answer, "code": 201}

    def _evict(self, call: Call, eviction: Document, *, dry_run: bool) -> None:
        self._registry.get(call.resource, call.namespace, call.target.name)
        options = checked_delete(eviction.get("deleteOptions") or {})
        options = replace(options, dry_run=options.dry_run or dry_run)
        self._registry.delete(call.resource, call.namespace, call.target.name, options)

    def _bind(self, call: Call, binding: Document, *, dry_run: bool) -> None:
        """Give a Pod its node, once, and what else the binding carries."""
        _check_binding(binding)
        pod = self._registry.get(call.resource, call.namespace, call.target.name)
        bound = _bound(pod, binding, self._registry.store.timestamp())
        if not dry_run:
            self._registry.store.update("pods", bound, status=True)  # no new generation


def _check_binding(binding: Document) -> None:
    """Source: ValidatePodBinding; its errors come out as a failure without a reason."""
    target = binding.get("target") or {}
    errors = []
    if (target.get("kind") or "Node") != "Node":
        errors.append(
            status.FieldError.not_supported("target.kind", target["kind"], ("Node", "<empty>"))
        )
    if not target.get("name"):
        errors.append(status.FieldError.required("target.name"))
    texts = [str(error) for error in errors]
    if texts:
        raise status.plain_failure(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")


def _bound(pod: Document, binding: Document, now: str) -> Document:
    """`pod` on the node that `binding` names; raises StatusError (409) for one that can't go."""
    name, spec, sent = name_of(pod), pod.get("spec") or {}, binding["metadata"]
    for field, label in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        if sent.get(field) and sent[field] != pod["metadata"][field]:
            words = (
                f"Precondition failed: {label} in precondition: {sent[field]}, "
                f"{label} in object meta: {pod['metadata'][field]}"
            )
            raise status.conflict("pods/binding", name, "", words)
    refused = ""
    if pod["metadata"].get("deletionTimestamp"):
        refused = f"pod {name} is being deleted, cannot be assigned to a host"
    elif spec.get("nodeName"):
        refused = f'pod {name} is already assigned to node "{spec["nodeName"]}"'
    elif spec.get("schedulingGates"):
        refused = f"pod {name} has non-empty .spec.schedulingGates"
    if refused:
        raise status.conflict("pods/binding", name, "", refused)
    bound: Document = copy_document(pod)
    bound["spec"]["nodeName"] = binding["target"]["name"]
    meta = bound["metadata"]
    if sent.get("annotations"):
        meta["annotations"] = {**(meta.get("annotations") or {}), **sent["annotations"]}
    labels = {k: v for k, v in (sent.get("labels") or {}).items() if k.startswith(_TOPOLOGY)}
    if labels:
        meta["labels"] = {**labels, **(meta.get("labels") or {})}
    _set_scheduled(bound.setdefault("status", {}), now)
    return bound


def _set_scheduled(state: Document, now: str) -> None:
    """Condition PodScheduled is True. Source: UpdatePodCondition."""
    conditions = [*(state.get("conditions") or ())]
    for index, condition in enumerate(conditions):
        if condition.get("type") == "PodScheduled":
            if condition.get("status") == "True":
                now = condition.get("lastTransitionTime") or now
            del conditions[index]
            break
    else:
        index = len(conditions)
    scheduled = {"type": "PodScheduled", "status": "True"}
    times = {"lastProbeTime": None, "lastTransitionTime": now}
    conditions.insert(index, {**scheduled, **times})
    state["conditions"] = conditions

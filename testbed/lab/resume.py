"""Finding again what stands of a lab whose control plane died."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.api.documents import Document
from testbed.api.objects import Pod
from testbed.fabric.specs import Plan
from testbed.runtime.sandbox import namespace_name

if TYPE_CHECKING:
    from testbed.lab.core import LabCore


def take_over_pods(core: LabCore) -> int:
    """Know the namespaces of the Pods that go on; how many do.

    A sandbox without its Pod, or whose addresses nobody had been told of, goes: it is made anew
    where it is still wanted.
    """
    standing, made = core.fabric.standing(), core.sandboxes.made()
    plans: list[Plan] = []
    kept: set[str] = set()
    for document in core.control.store.list("pods"):
        uid = document["metadata"]["uid"]
        if uid not in made:
            continue
        plan = _plan(core, document)
        if plan is None or not {spec.name for spec in plan.namespaces} <= standing:
            continue
        plans.append(plan)
        kept.add(uid)
    core.fabric.take_over(Plan.total(plans))
    if core.keeper is not None:
        core.keeper.drop_all_but(kept)
    for uid in made - kept:
        core.sandboxes.forget(uid)
    core.fabric.remove_unknown()
    return len(kept)


def _plan(core: LabCore, document: Document) -> Plan | None:
    """What a Pod's sandbox was made from; None where its status doesn't say so yet."""
    pod = Pod.from_document(document)
    if pod.host_network:
        return Plan()
    if not pod.ips:
        return None
    return core.plan_pod(namespace_name((pod.key.namespace, pod.key.name)), pod.node_name, pod.ips)

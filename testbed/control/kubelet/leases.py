"""The Leases by which nodes say that they live, in namespace kube-node-lease.

kubelet renews its node's every 10 s. Here a renewal is written down when somebody looks: the times
are the same, and a lab that nobody looks at neither wakes up nor writes to its journal for it.
Source: k8s.io/component-helpers/apimachinery/lease, pkg/kubelet/util/nodelease.go.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime

from testbed.api.documents import Document, name_of
from testbed.clock import Timer
from testbed.control.controllers.base import ClusterApi

NAMESPACE = "kube-node-lease"
#: Seconds that a renewal holds, and between renewals.
DURATION, INTERVAL = 40, 10.0


class NodeLeases:
    """`is_heard(node)` is False while the node's kubelet is silent, which renews nothing.

    `is_watched` says whether a client follows Leases: then they are renewed without being read.
    """

    def __init__(self, api: ClusterApi, is_heard: Callable[[str], bool]) -> None:
        self._api = api
        self._is_heard = is_heard
        self._timer: Timer | None = None
        self.is_watched: Callable[[], bool] = lambda: False

    def look(self) -> None:
        """Somebody is about to read the Leases."""
        self.renew()
        if self._timer is None:
            self._timer = self._api.clock.call_later(INTERVAL, self._due)

    def renew(self) -> None:
        """Bring the Leases of all nodes to where their kubelets have them by now."""
        now = self._api.clock.wall()
        for node in self._api.store.list("nodes"):
            if self._is_heard(name_of(node)):
                self._renew(node, now)

    def _due(self) -> None:
        self._timer = None
        if self.is_watched():
            self.look()

    def _renew(self, node: Document, now: float) -> None:
        name = name_of(node)
        old = self._api.store.find("leases", NAMESPACE, name)
        if old is None:
            if self._api.store.find("namespaces", "", NAMESPACE) is not None:
                self._api.create("leases", _lease(node, now))
            return
        last = old["spec"].get("renewTime")
        turns = (now - _seconds(last)) // INTERVAL if last else 1
        if turns < 1:
            return
        renewed = copy.deepcopy(old)
        moment = _seconds(last) + turns * INTERVAL if last else now
        renewed["spec"] |= {
            "holderIdentity": name,
            "leaseDurationSeconds": DURATION,
            "renewTime": _micro_time(moment),
        }
        self._api.update("leases", renewed)


def _lease(node: Document, now: float) -> Document:
    name = name_of(node)
    owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node["metadata"]["uid"]}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": NAMESPACE, "ownerReferences": [owner]},
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": DURATION,
            "renewTime": _micro_time(now),
        },
    }


def _micro_time(seconds: float) -> str:
    """As the API prints a MicroTime."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _seconds(text: str) -> float:
    form = "%Y-%m-%dT%H:%M:%S.%fZ" if "." in text else "%Y-%m-%dT%H:%M:%SZ"
    return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()

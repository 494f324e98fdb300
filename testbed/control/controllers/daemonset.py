"""DaemonSet: one Pod on every node that it fits, replaced node by node.

Source: pkg/controller/daemon (daemon_controller.go, update.go), daemon/util.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.status import StatusError
from testbed.control import pods
from testbed.control.controllers import ownership, revisions
from testbed.control.controllers.base import (
    ClusterApi,
    Controller,
    Key,
    RetryError,
    namespace_is_ending,
)
from testbed.control.controllers.daemon_pods import (
    by_age,
    daemon_tolerations,
    fitness,
    fits,
    node_of,
    pinned,
    revision_of,
)
from testbed.control.store import Event

#: Which template a daemon is of, as it was told before there were revisions.
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
TEMPLATE_GENERATION_LABEL = "pod-template-generation"

#: Seconds that a daemon that failed is left: at first, and at most.
BACKOFF_FIRST, BACKOFF_LAST = 1.0, 900.0


class DaemonSetController(Controller):
    resources = ("daemonsets", "pods", "nodes")

    def __init__(self, api: ClusterApi) -> None:
        super().__init__(api)
        #: (seconds, since when) by owner's uid and node: how long a daemon that failed is left.
        self._left: dict[tuple[str, str], tuple[float, float]] = {}
        #: Seconds until daemons that failed may be replaced, in the present pass.
        self._again: list[float] = []

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "pods":
            yield from ownership.concerned(self.api, "daemonsets", "DaemonSet", event)
        elif event.resource == "daemonsets":
            yield from super().keys_for(event)
        elif event.old is None or fitness(event.old) != fitness(event.object):
            for owner in self.store.list("daemonsets"):
                yield namespace_of(owner), name_of(owner)

    def reconcile(self, key: Key) -> None:
        owner = self.store.find("daemonsets", *key)
        if owner is None or pods.is_terminating(owner):
            return
        ownership.claim(self.api, owner)
        update, others = revisions.ensure(self.api, owner)
        again: RetryError | None = None
        self._again.clear()
        try:
            self._manage(owner, update)
            self._roll(owner, update)
        except RetryError as retry:
            again = retry
        by_node = self._pods(owner)
        everyone = [pod for members in by_node.values() for pod in members]
        self._update_status(owner, by_node, update)
        revisions.trim(self.api, owner, others, [str(revision_of(pod)) for pod in everyone])
        now = self.api.clock.wall()
        waits = [pods.seconds_until_available(pod, pods.min_ready(owner), now) for pod in everyone]
        if again is not None:
            raise again
        if left := [wait for wait in (*waits, *self._again) if wait]:
            raise RetryError(min(left), "waiting for minReadySeconds or after a failure")

    def _pods(self, owner: Document) -> dict[str, list[Document]]:
        """The daemons by the node that they are (or will be) on: placed ones first, oldest first.

        Source: podByCreationTimestampAndPhase.
        """
        found: dict[str, list[Document]] = {}
        for pod in ownership.claim(self.api, owner):
            found.setdefault(node_of(pod), []).append(pod)
        for members in found.values():
            members.sort(
                key=lambda pod: (
                    not pod["spec"].get("nodeName"),
                    pod["metadata"]["creationTimestamp"],
                    name_of(pod),
                )
            )
        return found

    # one Pod on each node

    def _manage(self, owner: Document, update: Document) -> None:
        by_node = self._pods(owner)
        surplus: list[Document] = []
        for node in self.store.list("nodes"):
            members = by_node.pop(name_of(node), [])
            should_run, may_stay = fits(owner, node)
            if should_run and not members:
                self._create(owner, name_of(node), update)
            elif may_stay:
                surplus += self._surplus(owner, node, members, update)
            else:
                surplus += members
        # The node is gone: what was placed there is the Pod garbage collector's.
        surplus += [
            pod for rest in by_node.values() for pod in rest if not pod["spec"].get("nodeName")
        ]
        for pod in surplus:
            if not pods.is_terminating(pod):
                self._delete(owner, pod)

    def _surplus(
        self, owner: Document, node: Document, members: list[Document], update: Document
    ) -> list[Document]:
        """The daemons of a node that must go: those that ended, and all but the oldest one.

        With a surge an old and a new one may be there until the new one is available. Source:
        podsShouldBeOnNode.
        """
        ended = [pod for pod in members if pods.is_over(pod) and self._may_go(owner, node, pod)]
        for pod in ended:
            self._tell_ended(owner, node, pod)
        live = [pod for pod in members if pods.is_active(pod)]
        if not _counts(owner, 1)[1]:
            return ended + live[1:]
        new = [pod for pod in live if revision_of(pod) == name_of(update)]
        old = [pod for pod in live if pod not in new]
        gone = ended + new[1:] + old[1:]
        if new and old and (not pods.is_ready(old[0]) or self._is_available(owner, new[0])):
            gone.append(old[0])
        return gone

    def _may_go(self, owner: Document, node: Document, pod: Document) -> bool:
        """Whether a daemon that ended may be replaced; after a failure later each time."""
        if pod["status"]["phase"] != "Failed":
            return True
        key, now = (owner["metadata"]["uid"], name_of(node)), self.api.clock.now()
        delay, since = self._left.get(key, (0.0, now))
        if now - since < delay:
            self._again.append(since + delay - now)
            return False
        longer = BACKOFF_FIRST if now - since >= 2 * BACKOFF_LAST else delay * 2
        self._left[key] = min(max(longer, BACKOFF_FIRST), BACKOFF_LAST), now
        return True

    def _tell_ended(self, owner: Document, node: Document, pod: Document) -> None:
        full, where = "/".join(pods.key_of(pod)), name_of(node)
        if pod["status"]["phase"] == "Failed":
            message = f"Found failed daemon pod {full} on node {where}, will try to kill it"
            self.api.event(owner, "Warning", "FailedDaemonPod", message)
        else:
            message = f"Found succeeded daemon pod {full} on node {where}, will try to delete it"
            self.api.event(owner, "Normal", "SucceededDaemonPod", message)

    # replacing

    def _roll(self, owner: Document, update: Document) -> None:
        """Replace Pods of older revisions while few enough nodes are without a daemon."""
        strategy = owner["spec"].get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return
        by_node = self._pods(owner)
        wanted = [name_of(n) for n in self.store.list("nodes") if fits(owner, n)[0]]
        nodes = {name: by_node.get(name, []) for name in (*wanted, *by_node)}
        unavailable, surge = _counts(owner, len(wanted))
        if surge:
            self._surge(owner, update, nodes, set(wanted), surge)
        else:
            self._replace(owner, update, nodes, unavailable)

    def _replace(
        self, owner: Document, update: Document, nodes: Mapping[str, list[Document]], room: int
    ) -> None:
        """Delete old daemons: broken ones, and others while `room` nodes may be without one.

        Source: update.go rollingUpdate without surge.
        """
        broken: list[Document] = []
        others: list[Document] = []
        for members in nodes.values():
            new, old = by_age(members, update)
            if len(new) + len(old) != 1:
                room -= 1
            elif new:
                room -= not self._is_available(owner, new[0])
            elif self._is_available(owner, old[0]):
                others.append(old[0])
            else:
                broken.append(old[0])
        for pod in broken + others[: max(0, room)]:
            self._delete(owner, pod)

    def _surge(
        self,
        owner: Document,
        update: Document,
        nodes: Mapping[str, list[Document]],
        wanted: set[str],
        room: int,
    ) -> None:
        """Make new daemons beside old ones, on `room` nodes at a time; delete those relieved.

        Source: update.go rollingUpdate with surge.
        """
        relieved: list[Document] = []
        broken: list[str] = []
        others: list[str] = []
        for name, members in nodes.items():
            new, old = by_age(members, update)
            if len(new) > 1 or len(old) > 1:
                room -= 1
            elif old and new:
                if self._is_available(owner, new[0]):
                    relieved.append(old[0])
                else:
                    room -= 1
            elif old and self._is_available(owner, old[0]):
                others.append(name)
            elif old:
                broken.append(name)
        for pod in relieved + [
            pod for name in broken if name not in wanted for pod in by_age(nodes[name], update)[1]
        ]:
            self._delete(owner, pod)
        for name in [name for name in broken if name in wanted] + others[: max(0, room)]:
            self._create(owner, name, update)

    def _is_available(self, owner: Document, pod: Document) -> bool:
        now = self.api.clock.wall()
        return pods.seconds_until_available(pod, pods.min_ready(owner), now) == 0

    def _create(self, owner: Document, node: str, update: Document) -> None:
        template = copy.deepcopy(owner["spec"]["template"])
        pod = pods.from_template(template, owner)
        label = update["metadata"]["labels"][revisions.LABEL]
        own = {revisions.LABEL: label}
        if generation := _template_generation(owner):
            own[TEMPLATE_GENERATION_LABEL] = generation
        pod["metadata"]["labels"] = {**pod["metadata"]["labels"], **own}
        spec = pod["spec"]
        spec["tolerations"] = daemon_tolerations(spec)
        spec["affinity"] = pinned(spec.get("affinity"), node)
        try:
            made = self.api.create("pods", pod)
        except StatusError as error:
            if namespace_is_ending(error):
                return
            self.api.event(owner, "Warning", "FailedCreate", f"Error creating: {error}")
            raise RetryError(5, str(error)) from None
        self.api.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {name_of(made)}")

    def _delete(self, owner: Document, pod: Document) -> None:
        self.api.delete("pods", *pods.key_of(pod))
        self.api.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

    # status

    def _update_status(
        self, owner: Document, by_node: dict[str, list[Document]], update: Document
    ) -> None:
        found = self.store.find("daemonsets", *pods.key_of(owner))
        if found is None:
            return
        counts = dict.fromkeys(_COUNTS, 0)
        for node in self.store.list("nodes"):
            members = by_node.get(name_of(node), [])
            if not fits(owner, node)[0]:
                counts["numberMisscheduled"] += bool(members)
                continue
            counts["desiredNumberScheduled"] += 1
            for pod in members[:1]:
                counts["currentNumberScheduled"] += 1
                counts["numberReady"] += pods.is_ready(pod)
                counts["numberAvailable"] += self._is_available(owner, pod)
                counts["updatedNumberScheduled"] += revision_of(pod) == name_of(update)
        counts["numberUnavailable"] = counts["desiredNumberScheduled"] - counts["numberAvailable"]
        status = {k: v for k, v in counts.items() if v or k in _COUNTS[:4]}
        status["observedGeneration"] = found["metadata"]["generation"]
        if collisions := (found.get("status") or {}).get("collisionCount"):
            status["collisionCount"] = collisions
        if found.get("status") != status:
            self.api.update("daemonsets", {**found, "status": status}, status=True)


#: The counts of a status; the first four are always written.
_COUNTS = (
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
)


def _counts(owner: Document, nodes: int) -> tuple[int, int]:
    """(nodes that may be without a daemon, nodes that may have two). updatedDesiredNodeCounts."""
    rolling = (owner["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    unavailable = _count(rolling.get("maxUnavailable", 1), nodes)
    surge = _count(rolling.get("maxSurge", 0), nodes)
    return (1 if nodes and not unavailable and not surge else unavailable), surge


def _template_generation(owner: Document) -> str:
    return str((owner["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION) or "")


def _count(value: int | str, total: int) -> int:
    """A number of nodes; percentages are rounded up."""
    return value if isinstance(value, int) else math.ceil(int(value.rstrip("%")) * total / 100)

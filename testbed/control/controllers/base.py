"""What a controller is, and the manager that runs all of them until nothing is left to do.

A controller looks at the whole desired state of one key and brings the world to it
(level-triggered); it learns from store events only which keys to look at again.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.status import StatusError
from testbed.clock import Clock, Timer
from testbed.control.store import ConflictError, Event, EventType, NotFoundError, Store

log = logging.getLogger(__name__)

#: (namespace, name) of the object that a controller brings to its desired state.
Key: TypeAlias = tuple[str, str]

#: Looks at one key in one run, far more than a converging set of controllers needs. A key that
#: takes more feeds itself (a Deployment whose nodeName has a taint that evicts): it is put off.
BURST = 100
#: Looks that such a key is granted after each pause, and the first and longest pause in seconds.
BURST_AFTER_PAUSE = 10
FIRST_PAUSE = 0.125
LONGEST_PAUSE = 10.0
#: Seconds of work after which a run lets others have the event loop.
SLICE = 0.01
#: Seconds until a write that was refused, or work that failed in an unforeseen way, is tried again.
REFUSED_RETRY = 5.0


class RetryError(Exception):
    """The key can't be brought to its state yet: look again `after` seconds on the lab's clock."""

    def __init__(self, after: float, reason: str) -> None:
        super().__init__(reason)
        self.after = after


class ClusterApi(Protocol):
    """What a controller may do to the cluster.

    Reads go to `store`; writes are admitted like a user's.

    Writes raise testbed.api.status.StatusError, and the store's NotFoundError and ConflictError.
    """

    @property
    def store(self) -> Store: ...

    @property
    def clock(self) -> Clock: ...

    def create(self, resource: str, document: Document) -> Document: ...

    def update(self, resource: str, document: Document, *, status: bool = False) -> Document: ...

    def delete(
        self,
        resource: str,
        namespace: str,
        name: str,
        *,
        grace: int | None = None,
        propagation: str = "",
    ) -> None:
        """Delete an object; `propagation` is Foreground, Orphan, or for what it owns to follow."""

    def bind(self, pod: Document, node: str) -> Document:
        """Put an unscheduled Pod on a node (the binding subresource)."""

    def event(self, involved: Document, kind: str, reason: str, message: str) -> None:
        """Record an Event about `involved`; `kind` is Normal or Warning."""


class Controller:
    """Base of the controllers. `resources` are those whose events concern it."""

    resources: tuple[str, ...] = ()

    def __init__(self, api: ClusterApi) -> None:
        self.api = api
        self.store = api.store
        #: Looks at a key in the next run; the manager sets it.
        self.requeue: Callable[[Key], None] = lambda key: None

    def keys_for(self, event: Event) -> Iterable[Key]:
        """The keys to look at again after `event`; by default the object's own."""
        return ((namespace_of(event.object), name_of(event.object)),)

    def reconcile(self, key: Key) -> None:
        """Bring the world of `key` to its desired state; may raise RetryError."""
        raise AssertionError(f"{type(self).__name__} reconciles nothing")

    def reconcile_all(self, keys: Sequence[Key]) -> dict[Key, RetryError]:
        """Reconcile many keys; returns those to look at again.

        Overridden where a batch is cheaper than its parts.
        """
        again: dict[Key, RetryError] = {}
        for key in keys:
            try:
                self.reconcile(key)
            except RetryError as retry:
                again[key] = retry
            except (ConflictError, NotFoundError) as error:
                # Someone else wrote first: the event of that write has queued the key again,
                # unless the object was of a kind this controller doesn't watch.
                again[key] = RetryError(0, str(error))
            except StatusError as error:
                if namespace_is_ending(error):
                    continue
                log.warning("%s %s: %s", type(self).__name__, "/".join(key), error)
                again[key] = RetryError(REFUSED_RETRY, str(error))
            except Exception as error:
                again[key] = self.unforeseen(key, error)
        return again

    def unforeseen(self, key: Key, error: Exception) -> RetryError:
        """Log a mistake of our own, so that one object's trouble stays its own; look again."""
        log.error("%s %s", type(self).__name__, "/".join(key), exc_info=error)
        return RetryError(REFUSED_RETRY, repr(error))


class Manager:
    """Runs controllers until none has anything to do.

    `wake` is called when work arrives outside a run (a timer, a client's write), so that an event
    loop can call `run` again.
    """

    def __init__(self, store: Store, clock: Clock, wake: Callable[[], None] | None = None) -> None:
        self._store = store
        self._clock = clock
        self._wake = wake
        self._queues: dict[Controller, dict[Key, None]] = {}
        self._timers: dict[tuple[Controller, Key], Timer] = {}
        self._running = False
        #: The pauses of the keys that feed themselves; of the run under way: how often each
        #: key was looked at, and which have been put off.
        self._pauses: dict[tuple[Controller, Key], float] = {}
        self._looks: Counter[tuple[Controller, Key]] = Counter()
        self._waiting: set[tuple[Controller, Key]] = set()

    def add(self, *controllers: Controller) -> None:
        """Start running `controllers`; existing objects are queued for them."""
        for controller in controllers:
            self._queues[controller] = {}
            controller.requeue = partial(self.enqueue, controller)
            for resource in controller.resources:
                watcher = self._watcher(controller)
                self._store.watch(resource, watcher)
                for document in self._store.list(resource):
                    version = int(document["metadata"]["resourceVersion"])
                    watcher(Event(EventType.ADDED, resource, document, None, version))

    def enqueue(self, controller: Controller, key: Key) -> None:
        """Look at `key` in the next run."""
        self._queues[controller][key] = None
        if self._wake is not None and not self._running:
            self._wake()

    @property
    def idle(self) -> bool:
        """Nothing is queued (timers may still be pending)."""
        return not any(self._queues.values())

    def run(self) -> None:
        """Run every controller until the queues are empty; what feeds itself is put off."""
        for _ in self.slices():
            pass

    def slices(self) -> Iterator[None]:
        """`run` in pieces: yields every `SLICE` seconds or so."""
        self._looks.clear()
        self._waiting.clear()
        began = time.monotonic()
        while not self.idle:
            self._pass()
            if time.monotonic() - began >= SLICE:
                yield
                began = time.monotonic()
        for paused in list(self._pauses):
            if paused not in self._timers:
                del self._pauses[paused]

    def _pass(self) -> None:
        self._running = True
        try:
            for controller, queue in self._queues.items():
                if queue:
                    keys = [key for key in queue if not self._put_off(controller, key)]
                    queue.clear()
                    self._reconcile(controller, keys)
        finally:
            self._running = False

    def _put_off(self, controller: Controller, key: Key) -> bool:
        """Whether the key has had its looks in this run: it is then queued for later."""
        item = controller, key
        if item in self._waiting:
            return True
        self._looks[item] += 1
        pause = self._pauses.get(item)
        if self._looks[item] <= (BURST if pause is None else BURST_AFTER_PAUSE):
            return False
        pause = FIRST_PAUSE if pause is None else min(2 * pause, LONGEST_PAUSE)
        self._pauses[item] = pause
        self._waiting.add(item)
        self._later(controller, key, pause)
        return True

    def _reconcile(self, controller: Controller, keys: Sequence[Key]) -> None:
        try:
            again = controller.reconcile_all(keys)
        except Exception as error:
            # The queue is empty already: what this pass has not done must come back.
            again = {key: controller.unforeseen(key, error) for key in keys}
        for key, retry in again.items():
            if retry.after <= 0:
                self._queues[controller][key] = None
                continue
            log.debug("%s %s: %s", type(controller).__name__, key, retry)
            self._later(controller, key, retry.after)

    def _later(self, controller: Controller, key: Key, after: float) -> None:
        if timer := self._timers.pop((controller, key), None):
            timer.cancel()

        def due() -> None:
            self._timers.pop((controller, key), None)
            self.enqueue(controller, key)

        self._timers[controller, key] = self._clock.call_later(after, due)

    def _watcher(self, controller: Controller) -> Callable[[Event], None]:
        def watcher(event: Event) -> None:
            for key in controller.keys_for(event):
                self.enqueue(controller, key)

        return watcher


def namespace_is_ending(error: StatusError) -> bool:
    """Whether nothing can be made because the namespace is being deleted: no use in trying again.

    Source: apimachinery HasStatusCause with NamespaceTerminatingCause.
    """
    causes = error.details.get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


def owner_of(document: Document) -> Document | None:
    """The controlling owner reference of an object, if it has one."""
    for reference in document["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return dict(reference)
    return None


def owner_reference(owner: Document) -> Document:
    """An owner reference that makes `owner` the controller."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_owned_by(document: Document, owner: Document) -> bool:
    """Whether `owner` controls `document` (by uid: a namesake does not)."""
    reference = owner_of(document)
    return reference is not None and reference["uid"] == owner["metadata"]["uid"]


def matches(selector: Document | None, labels: dict[str, str] | None) -> bool:
    """Whether a LabelSelector matches; an empty one matches all, None matches nothing.

    Source: apimachinery LabelSelectorAsSelector.
    """
    if selector is None:
        return False
    labels = labels or {}
    for name, value in (selector.get("matchLabels") or {}).items():
        if labels.get(name) != value:
            return False
    return all(_holds(e, labels) for e in selector.get("matchExpressions") or ())


def _holds(expression: Document, labels: dict[str, str]) -> bool:
    name, operator = expression["key"], expression["operator"]
    values: Sequence[str] = expression.get("values") or ()
    if operator == "In":
        return name in labels and labels[name] in values
    if operator == "NotIn":
        return name not in labels or labels[name] not in values
    return (name in labels) is (operator == "Exists")


def set_condition(status: Document, wanted: dict[str, Any], now: str) -> None:
    """Put a condition into `status.conditions`; lastTransitionTime moves only with the status."""
    conditions = status.setdefault("conditions", [])
    for index, old in enumerate(conditions):
        if old["type"] == wanted["type"]:
            same = old["status"] == wanted["status"]
            moved = old.get("lastTransitionTime", now) if same else now
            conditions[index] = {**old, **wanted, "lastTransitionTime": moved}
            return
    conditions.append({**wanted, "lastTransitionTime": now})

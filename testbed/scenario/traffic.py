"""Many connections: who answered how often, and a client that never stops connecting."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from testbed.errors import TestbedError
from testbed.scenario.expect import check

if TYPE_CHECKING:
    from testbed.cluster import Cluster
    from testbed.probe.exchange import Outcome

#: How many calls show that a choice is random: with two Pods, one is missed once in 10^12 times.
MANY = 40


def answers(
    lab: Cluster,
    source: str,
    target: str,
    count: int = MANY,
    *,
    source_ports: Iterable[int] = (),
    **request: Any,
) -> Counter[str]:
    """`count` exchanges: how often each Pod answered; failures under `refused`, `timeout` …

    The kernel chooses the client's ports, or there is one exchange from each of `source_ports`:
    a connection that got no answer leaves a conntrack entry, and the next one from that port to the
    same target goes the same lost way. Ports from 61000 on are never the kernel's choice.
    """
    ports = list(source_ports) or [0] * count
    return Counter(_who(lab.exchange(source, target, source_port=p, **request)) for p in ports)


def _who(outcome: Outcome) -> str:
    return str(outcome.body().get("pod", outcome.kind))


def told(counts: Counter[str]) -> str:
    """Counts in words: `web-1 × 12, web-2 × 18`."""
    return ", ".join(f"{name} × {number}" for name, number in sorted(counts.items()))


def served_by_only(counts: Counter[str], *pods: str) -> None:
    """Check that each of these Pods answered, and nobody else, and that no call failed."""
    good = set(counts) == set(pods)
    wanted = f"answers of {', '.join(pods)}"
    check(good, f"answers: {told(counts)}" if good else wanted, told(counts))


class Traffic:
    """A client that connects anew again and again, from a thread, while the block runs.

    `counts` says who answered, `failures` holds what wasn't answered.
    """

    def __init__(self, lab: Cluster, source: str, target: str, **request: Any) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[Outcome] = []
        self._call: Callable[[], Outcome] = lambda: lab.exchange(source, target, **request)
        self._problem: TestbedError | None = None
        self._answered = threading.Condition()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._problem is not None and error is None:
            raise self._problem

    @property
    def total(self) -> int:
        """Connections tried so far."""
        return sum(self.counts.values()) + len(self.failures)

    def more(self, count: int = MANY) -> None:
        """Wait until `count` more connections have been tried."""
        with self._answered:
            wanted = self.total + count
            self._answered.wait_for(lambda: self.total >= wanted or self._ended.is_set())

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                outcome = self._call()
                with self._answered:
                    if outcome.body():
                        self.counts[_who(outcome)] += 1
                    else:
                        self.failures.append(outcome)
                    self._answered.notify_all()
        except TestbedError as error:
            self._problem = error
            self._ended.set()
            with self._answered:
                self._answered.notify_all()

"""The expectation language: `expect(path).delivered_to("web").source_seen("203.0.113.10")`.

Every check returns the expectation, so that they chain; one that fails raises CheckFailedError with
the check, what was seen, and the whole path as evidence.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

from testbed.control.names import made_for
from testbed.errors import CheckFailedError
from testbed.flow import (
    DELIVERED,
    DROPPED,
    NO_LISTENER,
    NO_ROUTE,
    REFUSED,
    TIMEOUT,
    Hop,
    Path,
    RuleHit,
    Verdict,
)
from testbed.report.text import render
from testbed.scenario.steps import current_steps


def expect(path: Path) -> PathExpectation:
    """Start checking a path."""
    return PathExpectation(path)


def check(holds: bool, sentence: str, seen: str = "") -> None:
    """A check that isn't about one path: log `sentence` where it holds, fail with it otherwise."""
    if not holds:
        raise CheckFailedError(f"expected: {sentence}" + (f"; seen: {seen}" if seen else ""))
    steps = current_steps()
    if steps is not None:
        steps.held(sentence)


class PathExpectation:
    """Checks about one path. `masquerade` stands for any rewriting of the source address."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # where it ended

    def delivered_to(self, *names: str) -> PathExpectation:
        """A Pod took the packet: one of `names` (a Pod, or what its name starts with)."""
        kind, backend = self.path.verdict.kind, self.path.backend
        good = kind == DELIVERED and (not names or any(is_pod_of(backend, n) for n in names))
        wanted = " or ".join(names) if names else "a Pod"
        return self._check(good, f"delivered to {wanted}", f"{kind} {backend}".strip())

    def reached(self, *names: str) -> PathExpectation:
        """The packet came to one of these Pods or machines, whether or not something answered."""
        where = self.path.hops[-1].namespace if self.path.hops else ""
        arrived = bool(self.path.hops) and not self.path.hops[-1].interface_out
        good = arrived and any(where == name or is_pod_of(where, name) for name in names)
        seen = f"it ended in {where}" if where else "nothing was sent"
        return self._check(good, f"it reached {' or '.join(names)}", seen)

    def nobody_listened(self) -> PathExpectation:
        """It came to a Pod or machine where nothing listens on that port, which said so."""
        verdict = self.path.verdict
        return self._check(verdict.kind == NO_LISTENER, "nothing listens there", str(verdict))

    def refused(self, at: str | None = None) -> PathExpectation:
        """The client was told at once: an ICMP error or a reset (by a rule of namespace `at`)."""
        verdict = self.path.verdict
        good = verdict.kind == REFUSED and at in (None, verdict.where)
        return self._check(good, f"refused{_place(at)}{_by(verdict)}", str(verdict))

    def dropped(self, at: str | None = None) -> PathExpectation:
        """The packet disappeared without a word (by a rule of namespace `at`)."""
        verdict = self.path.verdict
        good = verdict.kind == DROPPED and at in (None, verdict.where)
        return self._check(good, f"dropped{_place(at)}{_by(verdict)}", str(verdict))

    def not_delivered(self) -> PathExpectation:
        """No Pod took it, whatever the way of failing."""
        good = self.path.verdict.kind != DELIVERED
        return self._check(good, "not delivered", str(self.path.verdict))

    def unreachable(self) -> PathExpectation:
        """It was lost without a Service rule: no route, or nobody answered."""
        good = self.path.verdict.kind in (NO_ROUTE, TIMEOUT)
        return self._check(good, "no way there", str(self.path.verdict))

    # what happened to its addresses

    def source_seen(self, *addresses: str) -> PathExpectation:
        """The backend saw one of `addresses` as its client."""
        seen = self.path.source_seen
        wanted = [str(ipaddress.ip_address(a)) for a in addresses]
        return self._check(
            seen in wanted, f"the Pod saw {' or '.join(addresses)}", seen or "nothing"
        )

    def source_kept(self) -> PathExpectation:
        """The backend saw the address that the client sent from."""
        return self._check(
            self.path.source_seen == self.path.flow.source,
            f"the client's address {self.path.flow.source} arrived unchanged",
            self.path.source_seen or "nothing arrived",
        )

    def masqueraded(self, at: str | Iterable[str] | None = None) -> PathExpectation:
        """The source was rewritten, by namespace `at` (or, of several, by one)."""
        wanted = None if at is None else ({at} if isinstance(at, str) else set(at))
        where = self.path.masqueraded_at()
        good = bool(where) and (wanted is None or wanted >= set(where))
        place = "" if wanted is None else _place(" or ".join(sorted(wanted)))
        return self._check(good, f"masqueraded{place}", _at(where))

    def not_masqueraded(self) -> PathExpectation:
        """Nobody rewrote the source."""
        where = self.path.masqueraded_at()
        return self._check(not where, "not masqueraded", _at(where))

    def translated(self, at: str) -> PathExpectation:
        """The destination was rewritten (DNAT) in namespace `at`."""
        where = self.path.translated_at()
        return self._check(at in where, f"DNAT at {at}", _at(where))

    def not_translated(self) -> PathExpectation:
        """Nobody rewrote the destination."""
        where = self.path.translated_at()
        return self._check(not where, "no DNAT anywhere", _at(where))

    def arrived_at_port(self, port: int) -> PathExpectation:
        """Where it ended, it was addressed to `port`."""
        seen = self.path.hops[-1].after.destination_port if self.path.hops else 0
        return self._check(seen == port, f"it arrived at port {port}", str(seen))

    # which way it took

    def through(self, *namespaces: str) -> PathExpectation:
        """It crossed these namespaces, in this order (others may lie between)."""
        seen = [hop.namespace for hop in self.path.hops]
        remaining = iter(seen)
        good = all(name in remaining for name in namespaces)
        return self._check(good, f"went through {' → '.join(namespaces)}", " → ".join(seen))

    def never_carried(self, address: str) -> PathExpectation:
        """No packet of it or of its answer came from or went to `address`, at no hop."""
        wanted = str(ipaddress.ip_address(address))
        hops = (*self.path.hops, *self.path.reply)
        carriers = [hop.namespace for hop in hops if wanted in _addresses(hop)]
        return self._check(not carriers, f"no packet carried {address}", _at(carriers))

    def met(self, *words: str, at: str | None = None) -> PathExpectation:
        """A rule that has all `words` in its text, chain, element or meaning matched.

        Case doesn't matter, so that `dnat` finds the rule of either proxy mode.
        """
        hit = next((h for h in self._rules(at) if _has_words(h, words)), None)
        shown = describe_rule(hit) if hit else " ".join(words)
        return self._check(hit is not None, f"{_where(at)}{shown}", "no such rule on the path")

    def picked_endpoint(self, at: str) -> PathExpectation:
        """Namespace `at` had a rule that chose the endpoint and rewrote the destination to it."""
        hit = next((h for h in self._rules(at) if _is_dnat(h)), None)
        shown = describe_rule(hit) if hit else "a rule picks an endpoint (DNAT)"
        return self._check(hit is not None, f"{at}: {shown}", "no DNAT rule on the path")

    def met_no(self, *words: str, at: str | None = None) -> PathExpectation:
        """No rule that has all `words` matched."""
        hit = next((h for h in self._rules(at) if _has_words(h, words)), None)
        seen = describe_rule(hit) if hit else ""
        return self._check(hit is None, f"{_where(at)}no rule with {' '.join(words)}", seen)

    def _rules(self, at: str | None) -> list[RuleHit]:
        hops = (*self.path.hops, *self.path.reply)
        return [hit for hop in hops if at in (None, hop.namespace) for hit in hop.rules]

    def _check(self, holds: bool, sentence: str, seen: str) -> PathExpectation:
        if not holds:
            evidence = render(self.path, brief=True)
            if (log := current_steps()) is not None:
                log.failed = self.path
            raise CheckFailedError(f"expected: {sentence}; seen: {seen}\n{evidence}")
        steps = current_steps()
        if steps is not None:
            steps.held(sentence)
        return self


def is_pod_of(backend: str, name: str) -> bool:
    """Whether namespace `backend` (`default.web-0`) is Pod `name`, or a Pod of workload `name`."""
    namespace, _, pod = backend.partition(".")
    wanted_namespace, _, wanted = name.rpartition("/")
    return wanted_namespace in ("", namespace) and made_for(pod, wanted)


def served_by(name: str) -> Callable[[Path], bool]:
    """For Cluster.probe_until: paths that Pod `name`, or one whose name it begins, has answered."""
    return lambda path: path.verdict.kind == DELIVERED and is_pod_of(path.backend, name)


def picked(name: str) -> Callable[[Path], bool]:
    """For Cluster.probe_until: paths that ended in Pod `name`, whatever became of the answer."""
    return lambda path: is_pod_of(path.backend, name)


def describe_rule(hit: RuleHit) -> str:
    """A rule in one line: where it is, and its meaning or text."""
    return f"{hit.table} {hit.chain}: {hit.meaning or hit.text}"


def _has_words(hit: RuleHit, words: Iterable[str]) -> bool:
    text = f"{hit.chain} {hit.text} {hit.element} {hit.meaning}".lower()
    return all(word.lower() in text for word in words)


def _is_dnat(hit: RuleHit) -> bool:
    return "-j DNAT" in hit.text or " dnat " in f" {hit.text} "


def _by(verdict: Verdict) -> str:
    return f" by {describe_rule(verdict.rule)}" if verdict.rule else ""


def _where(at: str | None) -> str:
    return f"{at}: " if at else ""


def _addresses(hop: Hop) -> set[str]:
    return {
        address for flow in (hop.before, hop.after) for address in (flow.source, flow.destination)
    }


def _place(at: str | None) -> str:
    return f" at {at}" if at else ""


def _at(where: Iterable[str]) -> str:
    places = list(where)
    return f"at {', '.join(places)}" if places else "nowhere"

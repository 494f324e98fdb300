"""One flow explained: what happened to it, what should have, and the first place that differs."""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from testbed.api.objects import IPV4
from testbed.compare.agreement import Difference, compare
from testbed.compare.rules import RuleChange, changes
from testbed.compare.spread import Spread
from testbed.errors import TestbedError, UsageError
from testbed.fabric.namespace import Namespace
from testbed.flow import Path, path_to_json
from testbed.flow.tuples import Flow, endpoint
from testbed.lab.places import cloud_of, origin_of, start_of, target_of, world_of
from testbed.oracle.expectation import Verdict
from testbed.oracle.prediction import Prediction, predict
from testbed.oracle.service_targets import Target
from testbed.oracle.targets import Start
from testbed.oracle.text import outcome
from testbed.oracle.world import World
from testbed.probe import packets
from testbed.probe.exchange import ANSWERED, Outcome, Request, exchange, source_address
from testbed.probe.observe import Observation
from testbed.report import text
from testbed.runtime.sandbox import namespace_name

if TYPE_CHECKING:
    from testbed.cluster import Cluster

#: Protocols that a probe talks; the others are one crafted packet.
_TALKED = ("tcp", "udp")
#: How many changed rules are listed.
_LISTED = 10
#: How long an unanswered exchange of a spread may take, seconds.
_SHORT = 0.5


@dataclass(frozen=True)
class Explanation:
    """What was seen and what was expected. `drift` are (node, rule) that aren't kube-proxy's.

    `predictions` are the oracle's, one for each node that the packet may enter. `difference` is the
    first hop that isn't as predicted. `spread` is there where exchanges were counted.
    """

    observation: Observation
    predictions: tuple[Prediction, ...]
    difference: Difference | None = None
    drift: tuple[tuple[str, RuleChange], ...] = ()
    spread: Spread | None = None

    @property
    def path(self) -> Path:
        return self.observation.path

    @property
    def agrees(self) -> bool:
        """Whether packet, rules and spread are all as expected."""
        spread = self.spread is None or self.spread.agrees
        return self.difference is None and not self.drift and spread

    @property
    def first(self) -> tuple[str, str]:
        """(namespace, words) of the first place that differs, ("", "") where none does."""
        places = [(self._place(node), 0, node, str(change)) for node, change in self._ordered()]
        if self.difference is not None:
            node = self.difference.namespace
            places.append((self._place(node), 1, node, str(self.difference)))
        return min(places, key=lambda each: each[:2])[2:] if places else ("", "")

    def _place(self, node: str) -> int:
        """Where on its way the packet came to `node`; after everything where it didn't."""
        hops = [hop.namespace for leg in self.path.legs for hop in leg.hops]
        return hops.index(node) if node in hops else len(hops)

    def _ordered(self) -> list[tuple[str, RuleChange]]:
        """The drift in the packet's order: on a node, first the chains that the packet met."""
        met = {
            (hop.namespace, hit.chain)
            for leg in self.path.legs
            for hop in leg.hops
            for hit in hop.rules
        }
        return sorted(
            self.drift, key=lambda each: (self._place(each[0]), (each[0], each[1].chain) not in met)
        )

    @property
    def http_status(self) -> int:
        """The status of an HTTP answer; 0 where there was none."""
        outcome = self.observation.outcome
        return outcome.status if outcome is not None else 0

    def expected(self) -> str:
        """The oracle's words: for the node that the packet entered, or for all."""
        return "\n".join(line for p in self._fitting() for line in outcome(p)) + "\n"

    def _fitting(self) -> list[Prediction]:
        names = {hop.namespace for leg in self.path.legs for hop in leg.hops}
        fitting = [p for p in self.predictions if not p.entry or p.entry in names]
        return fitting[:2] or list(self.predictions[:1])

    def verdict(self) -> str:
        """Agreement in one line, or the first place that differs and why."""
        lines = []
        if self.difference is not None:
            lines.append(f"differs at {self.difference}")
        changed = self._changed()
        lines += changed[:_LISTED]
        if changed[_LISTED:]:
            lines.append(f"… and {len(changed) - _LISTED} more")
        if self.spread is not None and not self.spread.agrees:
            lines.append(f"spread: {self.spread.words}")
        return "\n".join(lines or ["as expected"])

    def _changed(self) -> list[str]:
        """A line for each changed rule, and one for a whole table or chain that is gone."""
        lines: list[str] = []
        for number, (node, change) in enumerate(self._ordered()):
            words = str(change)
            if change.whole:
                name = f"table {change.table}"
                name = name if change.whole == "table" else f"{change.table} {change.chain}"
                words = f"all of {name} is missing"
            elif number == 0 and change.missing and self._explains(node):
                words = f"the rule that should have matched is {words}"
            lines.append(f"rules of {node} differ: {words}")
        return list(dict.fromkeys(lines))

    def _explains(self, node: str) -> bool:
        """Whether a change on `node` may be why the packet did something else."""
        where = self.difference.namespace if self.difference is not None else ""
        return where != "" and self._place(node) <= self._place(where)

    def render(self, *, all_rules: bool = False) -> str:
        """Path, expectation and comparison as text."""
        parts = [text.render(self.path, all_rules=all_rules)]
        if self.http_status:
            parts[0] += f"HTTP status:  {self.http_status}\n"
        parts.append(f"expected: {self.expected()}")
        parts.append(f"{self.verdict()}\n")
        if self.spread is not None:
            parts.append(spread_text(self.spread))
        return "\n".join(parts)

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values; `path` is docs/path-schema.md's."""
        place, words = self.first
        return {
            "path": json.loads(path_to_json(self.path)),
            "expected": [p.as_json() for p in self._fitting()],
            "httpStatus": self.http_status or None,
            "agrees": self.agrees,
            "firstDifference": {"namespace": place, "what": words} if place else None,
            "difference": vars_of(self.difference),
            "rules": [{"node": n, **vars_of(c)} for n, c in self.drift],
            "spread": self.spread.as_json() if self.spread else None,
        }


def vars_of(value: Difference | RuleChange | None) -> Any:
    """A value's fields as a dict."""
    return None if value is None else {name: getattr(value, name) for name in value.__slots__}


@dataclass(frozen=True)
class Question:
    """FROM and TO, resolved: who sends what, and what the oracle says to it."""

    origin: Namespace
    start: Start
    target: Target
    world: World
    predictions: tuple[Prediction, ...]


def ask(
    lab: Cluster, source: str, target: str, *, port: str = "", protocol: str = "", family: str = ""
) -> Question:
    """Resolve FROM and TO in a running lab, and ask the oracle. Raises UsageError."""

    def work() -> Question:
        world = world_of(lab.core)
        origin = origin_of(lab.core, source, world)
        start = start_of(lab.core, source, world, origin)
        outside = start.origin.place == "outside"
        has = {a for a in (IPV4, "IPv6") if start.address(a)}
        wanted = family or (next(iter(has)) if len(has) == 1 else "")
        icmp = protocol.lower() == "icmp"
        found = target_of(
            world,
            target,
            port=port,
            protocol=protocol,
            outside=outside and not icmp,
            family=wanted,
        )
        predictions = predict(world, start, [found], cloud_of(lab.core, found.service))
        return Question(origin, start, found, world, tuple(predictions))

    return lab.in_loop(work)


def explain(
    lab: Cluster,
    source: str,
    target: str,
    *,
    port: str = "",
    protocol: str = "",
    family: str = "",
    repeat: int = 0,
    **request: Any,
) -> Explanation:
    """Send one real flow (tcp, udp), or one packet (sctp, icmp), follow it, and judge it.

    `repeat` adds that many unwatched exchanges and their spread over backends. `request` are fields
    of probe.exchange.Request. Raises UsageError for words that mean nothing here.
    """
    if protocol.lower() in ("", *_TALKED) and (
        found := lab.looked_up(source, target, port, protocol, family)
    ):
        address, number, protocol, host = found
        target, port, family = endpoint(address, number), "", ""
        request.setdefault("http_host", host)
    question = ask(lab, source, target, port=port, protocol=protocol, family=family)
    seen = _send(lab, question, request)
    difference = compare(seen.path, question.predictions, question.world.addresses)
    drift = drift_on(lab, seen.path, question)
    counted = count(question, repeat, request) if repeat else None
    return Explanation(seen, question.predictions, difference, tuple(drift), counted)


def _send(lab: Cluster, question: Question, request: dict[str, Any]) -> Observation:
    target = question.target
    protocol = target.protocol.lower()
    observer = lab.observer()
    if protocol in _TALKED:
        asked = Request(target.address, target.port, protocol, **request)
        return observer.follow(question.origin, asked)
    if request.get("http_path") is not None:
        raise UsageError(f"HTTP goes over tcp, not {protocol}")
    packet = packets.build(opening(question.origin, target))
    return observer.follow_packets(question.origin, packet, request.get("timeout", 1.0))


def opening(origin: Namespace, target: Target) -> Flow:
    """The flow of a crafted packet to `target`; its source port, or identifier, is random."""
    number = 32768 + secrets.randbelow(28000)
    protocol = target.protocol.lower()
    try:
        source = source_address(origin, target.address)
    except OSError as error:
        raise UsageError(f"{origin.name} → {target.address}: {error.strerror}") from None
    return Flow(
        protocol, source, number, target.address, number if protocol == "icmp" else target.port
    )


# -- rules that aren't as kube-proxy made them


def drift_on(lab: Cluster, path: Path, question: Question) -> list[tuple[str, RuleChange]]:
    """On the nodes of the path, in its order, the changed rules that concern the flow.

    Rules of other Services don't; nor do those of nodes that the packet passed untouched.
    """
    nodes = dict.fromkeys(
        hop.namespace
        for leg in path.legs
        for hop in (*leg.hops, *leg.reply)
        if hop.namespace in question.world.nodes
    )
    met = {hit.chain for leg in path.legs for hop in leg.hops for hit in hop.rules}
    own = {str(p.expectation.service) for p in question.predictions if p.expectation.service}
    others = {str(key) for key in question.world.services} - own
    found = []
    for node in nodes:
        for change in node_changes(lab, node, question.target.family):
            words = f"{change.missing} {change.found} {change.chain} "
            words += lab.meaning_of(change.chain)
            if _concerns(words, own, others) or (
                change.chain in met and not _concerns(words, others, own)
            ):
                found.append((node, change))
    return found


def _concerns(words: str, own: set[str], others: set[str]) -> bool:
    """Whether `words` name one of `own`; what names no Service concerns everyone."""
    if any(_names(words, key) for key in own):
        return True
    return not any(_names(words, key) for key in others)


def _names(words: str, key: str) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(key)}(?![\w-]|\.\w)", words) is not None


def node_changes(lab: Cluster, node: str, family: str) -> list[RuleChange]:
    """What of kube-proxy's rules of one family isn't in the kernel of `node` as it should be."""
    wanted = lab.in_loop(lambda: lab.core.proxies.wanted(node)).get(family)
    if wanted is None:
        return []
    namespace = lab.fabric.namespace(node)
    if wanted.lstrip().startswith("table "):
        prefix = "ip" if family == IPV4 else "ip6"
        argv = ["nft", "-s", "list", "table", prefix, "kube-proxy"]
    else:
        argv = ["iptables-nft-save" if family == IPV4 else "ip6tables-nft-save"]
    try:
        actual = namespace.run(argv)
    except TestbedError:
        actual = ""  # the table is gone
    return changes(wanted, actual)


# -- how connections are spread


def count(question: Question, repeat: int, request: dict[str, Any]) -> Spread:
    """`repeat` unwatched exchanges, and which Pods answered."""
    target = question.target
    protocol = target.protocol.lower()
    if protocol not in _TALKED:
        raise UsageError(f"--repeat counts answers: over tcp or udp, not {protocol}")
    more = {"timeout": _SHORT, **request}
    asked = Request(target.address, target.port, protocol, **more)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: exchange(question.origin, asked), range(repeat)))
    answered = [r for r in results if r.kind == ANSWERED]
    return Spread(
        counts=dict(Counter(map(_answerer, answered))),
        expected=_shares(question),
        failed=dict(Counter(r.kind for r in results if r.kind != ANSWERED)),
    )


def _answerer(result: Outcome) -> str:
    body = result.body()
    return namespace_name((body.get("namespace", "?"), body.get("pod", "?")))


def _shares(question: Question) -> dict[str, float]:
    """Expected shares by Pod; entry nodes that take traffic count alike."""
    serving = [p for p in question.predictions if p.in_rotation]
    serving = [p for p in serving if p.expectation.verdict is not Verdict.ROUTED] or serving
    shares: dict[str, float] = {}
    for prediction in serving:
        for backend in prediction.expectation.backends:
            key = backend.pod
            name = namespace_name((key.namespace, key.name)) if key else backend.address
            shares[name] = shares.get(name, 0.0) + backend.probability / len(serving)
    return shares


def spread_text(spread: Spread) -> str:
    """The spread as a small table, with its probability."""
    total = sum(spread.counts.values())
    names = sorted({*spread.counts, *spread.expected})
    width = max(map(len, names), default=0)
    lines = [f"spread of {total + sum(spread.failed.values())} exchanges"]
    for name in names:
        seen, share = spread.counts.get(name, 0), spread.expected.get(name)
        wanted = f"{share * total:7.1f} expected" if share is not None else "    not expected"
        lines.append(f"  {name:<{width}}  {seen:6}  {wanted}")
    lines += [f"  {kind}: {number}" for kind, number in spread.failed.items()]
    lines.append(f"  chi-square p = {spread.p:.3g}: {spread.words}")
    return "\n".join(lines) + "\n"

"""What happened to a packet: hops, rules, translations, verdict. Values only.

`docs/path-schema.md` describes the JSON form (testbed.flow.codec); a change here is a change there.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.flow.tuples import Flow

DELIVERED = "delivered"
REFUSED = "refused"
DROPPED = "dropped"
NO_ROUTE = "no route"
NO_LISTENER = "no listener"
TIMEOUT = "timeout"

#: The kind of a Route that was none: the packet was switched.
BRIDGED = "bridged"


@dataclass(frozen=True, slots=True)
class RuleHit:
    """A netfilter rule that matched the packet, or a chain's policy (`handle` 0).

    `verdict` is accept, drop, continue, return, `jump CHAIN`, `goto CHAIN`; `hook` the netfilter
    hook's name. `element` is the map or set element that matched, where it can be told. `tried` are
    the rules of the chain that were looked at before and didn't match.
    """

    family: str
    table: str
    chain: str
    handle: int
    text: str
    verdict: str
    meaning: str = ""
    hook: str = ""
    element: str = ""
    policy: bool = False
    tried: tuple[str, ...] = ()

    @property
    def rejects(self) -> bool:
        """True where the rule answers with an ICMP error or a reset."""
        words = self.text.lower()
        return "-j reject" in words or "reject" in words.split('comment "')[0].split()


@dataclass(frozen=True, slots=True)
class Nat:
    """An address translation. `kind` is DNAT, SNAT or masquerade; `undone` marks the way back."""

    kind: str
    before: str
    after: str
    undone: bool = False

    def __str__(self) -> str:
        return f"{'un-' if self.undone else ''}{self.kind} {self.before} → {self.after}"


@dataclass(frozen=True, slots=True)
class ConntrackEntry:
    """A conntrack entry: the flow as it came, the flow that answers have, and its state.

    `status` holds names such as SEEN_REPLY, ASSURED, SRC_NAT, DST_NAT; `state` is TCP's.
    """

    original: Flow
    reply: Flow
    status: tuple[str, ...] = ()
    state: str = ""
    mark: int = 0
    timeout: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    """A namespace's routing decision. `kind` is unicast, local, bridged, or the refusal's name.

    A bridged packet was switched between ports and never routed. `error` is the kernel's word where
    there is no way on ("" otherwise).
    """

    kind: str
    interface: str = ""
    gateway: str = ""
    source: str = ""
    error: str = ""

    def __str__(self) -> str:
        if self.error:
            return self.error
        if self.kind == "local":
            return "local delivery"
        if self.kind == BRIDGED:
            return f"bridged to {self.interface}"
        via = f"via {self.gateway} " if self.gateway else ""
        return f"{via}dev {self.interface}"


@dataclass(frozen=True, slots=True)
class Hop:
    """A packet's stay in one namespace.

    `interface_in` is "" where the packet was made here, `interface_out` where it ended here.
    `through` lists the interfaces in the order in which it was seen. Times are nanoseconds since
    the path's start.
    """

    namespace: str
    interface_in: str
    interface_out: str
    before: Flow
    after: Flow
    start: int
    end: int
    through: tuple[str, ...] = ()
    nat: tuple[Nat, ...] = ()
    rules: tuple[RuleHit, ...] = ()
    route: Route | None = None
    conntrack: ConntrackEntry | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """How it ended. `kind` is one of the constants of this module.

    `where` is the namespace that decided it, `rule` the rule that did it, `direction` which way was
    cut (forward or reply), `answer` what the client got (`ICMP port unreachable`, `TCP RST ACK`).
    """

    kind: str
    where: str = ""
    detail: str = ""
    rule: RuleHit | None = None
    direction: str = "forward"
    answer: str = ""

    def __str__(self) -> str:
        by = f" by {self.rule.table} {self.rule.chain}" if self.rule else ""
        where = f" at {self.where}" if self.where else ""
        got = f"; the client got {self.answer}" if self.answer and self.kind != DELIVERED else ""
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.kind}{where}{by}{detail}{got}"


@dataclass(frozen=True, slots=True)
class Path:
    """One request followed through every namespace watched.

    `origin` is the namespace that sent `flow`; `sent` and `answer` name the packets (`TCP SYN`).
    `start` is nanoseconds since 1970. `backend` is the namespace that took the packet,
    `backend_flow` the flow as it arrived there: its source is what the backend saw.
    `retransmissions` counts repeats of the first packet; `copies` the interfaces that saw a flooded
    copy; `unseen` says, in sentences, what couldn't be observed. `relayed` is the path of the
    connection that the backend, a proxy, made to hand the request on.
    """

    origin: str
    flow: Flow
    start: int
    sent: str
    verdict: Verdict
    hops: tuple[Hop, ...] = ()
    reply: tuple[Hop, ...] = ()
    answer: str = ""
    backend: str = ""
    backend_flow: Flow | None = None
    response: str = ""
    duration: int = 0
    retransmissions: int = 0
    copies: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    request: str = ""
    relayed: Path | None = None

    @property
    def legs(self) -> tuple[Path, ...]:
        """This path and those of the connections that proxies made for it, in order."""
        return (self, *(self.relayed.legs if self.relayed else ()))

    @property
    def final(self) -> Path:
        """The last leg: the one that reached the real backend."""
        return self.legs[-1]

    @property
    def source_seen(self) -> str:
        """The client address that the real backend saw, "" where nothing was delivered."""
        arrived = self.final.backend_flow
        return arrived.source if arrived else ""

    def relayed_at(self) -> tuple[str, ...]:
        """The namespaces whose proxies took the connection and made a new one, in order."""
        return tuple(leg.origin for leg in self.legs[1:])

    def masqueraded_at(self) -> tuple[str, ...]:
        """The namespaces that replaced the source address, in order."""
        return tuple(
            hop.namespace
            for leg in self.legs
            for hop in leg.hops
            if any(nat.kind in ("masquerade", "SNAT") for nat in hop.nat)
        )

    def translated_at(self) -> tuple[str, ...]:
        """The namespaces that replaced the destination, in order."""
        return tuple(
            hop.namespace
            for leg in self.legs
            for hop in leg.hops
            if any(nat.kind == "DNAT" for nat in hop.nat)
        )

"""How a request ended, where, and by which rule: read off its hops. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.flow.paths import (
    DELIVERED,
    DROPPED,
    NO_LISTENER,
    NO_ROUTE,
    REFUSED,
    TIMEOUT,
    Hop,
    RuleHit,
    Verdict,
)
from testbed.flow.tuples import endpoint
from testbed.probe.trails import Trail

_NO_ROUTE = ("network unreachable", "host unreachable", "no route", "address unreachable")
_NO_LISTENER = ("port unreachable", "protocol unreachable")
_LOST = ("time exceeded", "packet too big", "fragmentation needed", "parameter problem")
_RST = 0x04


@dataclass(frozen=True, slots=True)
class Ending:
    """How the request ended for the client.

    `kind` is answered, refused, timeout, no route, or "" where nobody waited; `error` the system's
    words; `response` what the backend said.
    """

    kind: str = ""
    error: str = ""
    response: str = ""


NOBODY_WAITED = Ending()


def judge(
    origin: str,
    hops: tuple[Hop, ...],
    reply: tuple[Hop, ...],
    answer: Trail | None,
    ending: Ending,
    *,
    flooded: bool = False,
) -> tuple[Verdict, str]:
    """(verdict, namespace of the backend or ""). `answer` is the trail behind `reply`.

    `flooded` says that copies of the packet went to hosts that it wasn't meant for.
    """
    if not hops:
        return _nothing_sent(origin, ending), ""
    if answer is None or not reply:
        return _unanswered(origin, hops[-1], ending, flooded), ""
    if not _came_home(reply[-1], origin):
        return _answer_lost(hops, reply, answer), _backend(reply)
    if ending.kind == "timeout" and (lost := _from_a_stranger(hops[0], reply[-1], answer)):
        return lost, _backend(reply)
    return _answered(hops[-1], reply, answer)


def _came_home(last: Hop, origin: str) -> bool:
    return last.namespace == origin and not last.interface_out and not _stopped_by(last)


def _from_a_stranger(first: Hop, last: Hop, answer: Trail) -> Verdict | None:
    """An answer that nobody translated back: no socket of the client's knows its sender."""
    expected = first.before.reversed()
    if answer.headers.is_icmp_error or last.after == expected:
        return None
    came = endpoint(last.after.source, last.after.source_port)
    asked = endpoint(expected.source, expected.source_port)
    detail = f"the answer ({answer.headers.summary}) came from {came}, not from {asked}"
    return Verdict(DROPPED, where=last.namespace, detail=detail, direction="reply")


def _backend(reply: tuple[Hop, ...]) -> str:
    return "" if reply[0].interface_in else reply[0].namespace


def _answered(last: Hop, reply: tuple[Hop, ...], answer: Trail) -> tuple[Verdict, str]:
    summary, where = answer.headers.summary, reply[0].namespace
    if reply[0].interface_in:
        where = f"beyond {last.namespace}/{last.interface_out}"
    rule = _stopped_by(last) if last.namespace == where else None
    reset = answer.headers.flow.protocol == "tcp" and answer.headers.tcp_flags & _RST
    if not reset and not answer.headers.is_icmp_error:
        return Verdict(DELIVERED, where=where, answer=summary), _backend(reply)
    if rule is not None:
        return Verdict(REFUSED, where=where, rule=rule, answer=summary), ""
    words = summary.removeprefix("ICMP ")
    if reset or words in _NO_LISTENER:
        detail = f"nothing listens on {last.after.destination} port {last.after.destination_port}"
        if words == "protocol unreachable":
            detail = f"{where} doesn't speak {last.after.protocol.upper()}"
        verdict = Verdict(NO_LISTENER, where=where, detail=detail, answer=summary)
        return verdict, _backend(reply)
    if words in _NO_ROUTE:
        detail = last.route.error if last.route and last.route.error else words
        return Verdict(NO_ROUTE, where=where, detail=detail, answer=summary), ""
    kind = DROPPED if words in _LOST else REFUSED
    return Verdict(kind, where=where, detail=words, answer=summary), ""


def _nothing_sent(origin: str, ending: Ending) -> Verdict:
    if ending.kind == "no route":
        return Verdict(NO_ROUTE, where=origin, detail=ending.error)
    detail = ending.error or "no packet of the flow was seen"
    return Verdict(TIMEOUT, where=origin, detail=detail)


def _unanswered(origin: str, last: Hop, ending: Ending, flooded: bool) -> Verdict:
    rule = _stopped_by(last)
    if rule is not None:
        kind = REFUSED if rule.rejects else DROPPED
        words = "" if ending.kind == "timeout" else ending.error
        if rule.rejects:
            words = "the kernel sent no answer (it limits the rate of ICMP errors)"
        return Verdict(kind, where=last.namespace, rule=rule, detail=words)
    if last.interface_out:
        detail = f"left {last.namespace} by {last.interface_out} and was not seen again"
        if flooded:
            detail = f"{last.namespace} flooded it, and none of those who got a copy took it"
        return Verdict(DROPPED, where=last.namespace, detail=detail)
    if last.route is not None and last.route.error:
        kind = NO_ROUTE if "no route" in last.route.error else DROPPED
        return Verdict(kind, where=last.namespace, detail=last.route.error)
    if last.route is not None and last.route.kind == "unicast":
        target = last.route.gateway or last.after.destination
        detail = f"never left by {last.route.interface}: {target} has no answering neighbour"
        return Verdict(DROPPED, where=last.namespace, detail=detail)
    if last.namespace == origin and ending.error and ending.kind != "timeout":
        return Verdict(DROPPED, where=origin, detail=ending.error)
    detail = f"reached {last.namespace}, which gave no answer"
    return Verdict(TIMEOUT, where=last.namespace, detail=detail)


def _answer_lost(hops: tuple[Hop, ...], reply: tuple[Hop, ...], answer: Trail) -> Verdict:
    last = reply[-1]
    rule = _stopped_by(last)
    what = f"the answer ({answer.headers.summary})"
    if rule is not None:
        detail = f"{what} was dropped"
    elif last.interface_out:
        detail = f"{what} left {last.namespace} by {last.interface_out} and was not seen again"
    else:
        reason = f" ({last.route.error})" if last.route and last.route.error else ""
        detail = f"{what} ended in {last.namespace}{reason}"
    return Verdict(DROPPED, where=last.namespace, detail=detail, rule=rule, direction="reply")


def _stopped_by(hop: Hop) -> RuleHit | None:
    """The rule that ended the packet's way in `hop`."""
    return hop.rules[-1] if hop.rules and hop.rules[-1].verdict == "drop" else None

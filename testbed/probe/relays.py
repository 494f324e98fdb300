"""Finding the connection by which a proxy hands a request on. Pure.

A proxy ends the client's connection and makes one of its own, so no header connects the two; the
request's own bytes do. A probe puts a random token into them.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.flow import fingerprint as fingerprints
from testbed.flow.fingerprint import Fingerprint
from testbed.flow.sightings import Sighting
from testbed.flow.tuples import Flow

_SYN, _ACK = 0x02, 0x10


def find_relay(
    sightings: Sequence[Sighting], proxy: str, token: bytes, known: Sequence[Flow]
) -> Fingerprint | None:
    """The connection out of namespace `proxy` that carries `token`, other than the `known` flows.

    None where there is none, or where its first packet wasn't seen.
    """
    made_here = [
        each
        for each in sightings
        if each.namespace == proxy and each.direction == "out" and each.flow.protocol == "tcp"
    ]
    carrying = {
        each.flow
        for each in made_here
        if token in each.headers.payload
        and each.flow not in known
        and each.flow.reversed() not in known
    }
    for each in made_here:
        opens = each.headers.tcp_flags & (_SYN | _ACK) == _SYN
        if opens and each.flow in carrying:
            return fingerprints.of_tcp(each.flow, each.headers.sequence)
    return None

"""What happened to a packet: Flow, Hop, Path, Verdict. Pure."""

from testbed.flow.codec import path_from_json, path_to_json
from testbed.flow.fingerprint import Fingerprint
from testbed.flow.headers import Headers, parse_packet
from testbed.flow.paths import (
    DELIVERED,
    DROPPED,
    NO_LISTENER,
    NO_ROUTE,
    REFUSED,
    TIMEOUT,
    ConntrackEntry,
    Hop,
    Nat,
    Path,
    Route,
    RuleHit,
    Verdict,
)
from testbed.flow.sightings import Frame, Sighting, sighting_of
from testbed.flow.tuples import Flow, endpoint, parse_endpoint

__all__ = [
    "DELIVERED",
    "DROPPED",
    "NO_LISTENER",
    "NO_ROUTE",
    "REFUSED",
    "TIMEOUT",
    "ConntrackEntry",
    "Fingerprint",
    "Flow",
    "Frame",
    "Headers",
    "Hop",
    "Nat",
    "Path",
    "Route",
    "RuleHit",
    "Sighting",
    "Verdict",
    "endpoint",
    "parse_endpoint",
    "parse_packet",
    "path_from_json",
    "path_to_json",
    "sighting_of",
]

"""Generated names and template hashes, with the alphabet that Kubernetes uses for them."""

from __future__ import annotations

import json
import random
import re

from testbed.api.documents import Document

#: No vowels and no look-alikes. Source: apimachinery util/rand.
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
#: Longest name that a generated one may reach. Source: apiserver storage/names.
GENERATED_LIMIT = 63
SUFFIX_LENGTH = 5


def suffix(source: random.Random, length: int = SUFFIX_LENGTH) -> str:
    """A random suffix for a name."""
    return "".join(source.choices(ALPHABET, k=length))


def generate(base: str, source: random.Random) -> str:
    """`base` (cut if too long) and a random suffix, as generateName does it."""
    return base[: GENERATED_LIMIT - SUFFIX_LENGTH] + suffix(source)


def template_hash(template: Document, collisions: int = 0) -> str:
    """A short hash that changes with the Pod template: the value of label pod-template-hash.

    The real one hashes a Go dump of the template, which has no stable form; FNV-1a over canonical
    JSON takes its place, spelled as rand.SafeEncodeString does it. `collisions` gives another hash
    to a template whose first one is taken.
    """
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    value = 0x811C9DC5
    for byte in f"{text}{collisions or ''}".encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return "".join(ALPHABET[ord(digit) % len(ALPHABET)] for digit in str(value))


#: What a ReplicaSet, Deployment, DaemonSet or Job adds to its name for its Pods', or a StatefulSet.
_MADE = re.compile(rf"(-[{ALPHABET}]{{6,10}})?-[{ALPHABET}]{{{SUFFIX_LENGTH}}}|-\d+")


def made_for(pod: str, workload: str) -> bool:
    """Whether a Pod's name is `workload`, or one that a workload of that name gives to its Pods."""
    return pod == workload or (
        pod.startswith(workload) and _MADE.fullmatch(pod[len(workload) :]) is not None
    )

"""Writes testbed/api/schema.json: the OpenAPI definitions of the kinds that we serve.

The definitions are those of Kubernetes 1.36, as the package kubernetes-validate carries them, cut
down to what our kinds reach, with plain types (`"string"` for `["string", "null"]`) and references
as OpenAPI v3 has them. Run: `python tools/build_schema.py`.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

VERSION = "v1.36.0-local"
TARGET = Path(__file__).parents[1] / "testbed" / "api" / "schema.json"

#: What is served, or sent and received with it; everything else comes in by reference.
ROOTS = {
    "io.k8s.api.core.v1": (
        "Namespace Node Pod PodTemplate Service Endpoints ConfigMap Secret ServiceAccount Event "
        "Binding"
    ),
    "io.k8s.api.apps.v1": "Deployment ReplicaSet StatefulSet DaemonSet ControllerRevision",
    "io.k8s.api.discovery.v1": "EndpointSlice",
    "io.k8s.api.networking.v1": "Ingress IngressClass ServiceCIDR IPAddress",
    "io.k8s.api.coordination.v1": "Lease",
    "io.k8s.api.events.v1": "Event",
    "io.k8s.api.autoscaling.v1": "Scale",
    "io.k8s.api.policy.v1": "Eviction",
    "io.k8s.api.authentication.v1": "SelfSubjectReview TokenRequest TokenReview",
    "io.k8s.api.authorization.v1": (
        "SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview "
        "LocalSubjectAccessReview"
    ),
    "io.k8s.apimachinery.pkg.apis.meta.v1": (
        "Status DeleteOptions Patch WatchEvent APIGroupList APIGroup APIResourceList APIVersions"
    ),
    "io.k8s.apimachinery.pkg": "version.Info",
}


def source() -> dict[str, Any]:
    """All definitions of the source package."""
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install kubernetes-validate==1.37.0 first")
    folder = Path(spec.origin).parent / "kubernetes-json-schema" / VERSION
    found: dict[str, Any] = json.loads((folder / "_definitions.json").read_text())["$defs"]
    return found


def plain(node: Any) -> Any:
    """`node` with nullable types made plain and references rewritten."""
    if isinstance(node, list):
        return [plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key == "type" and isinstance(value, list):
            out[key] = next(item for item in value if item != "null")
        elif key == "$ref":
            out[key] = value.replace("#/$defs/", "#/components/schemas/")
        elif key == "properties":
            out[key] = {name: plain(field) for name, field in value.items()}
            for name in ("apiVersion", "kind"):  # the package pins them; Kubernetes doesn't
                out[key].get(name, {}).pop("enum", None)
        else:
            out[key] = plain(value)
    return out


def references(node: Any) -> set[str]:
    """Names of the definitions that `node` refers to."""
    if isinstance(node, list):
        return set().union(*map(references, node))
    if not isinstance(node, dict):
        return set()
    found = {node["$ref"].rsplit("/", 1)[1]} if isinstance(node.get("$ref"), str) else set()
    return found.union(*map(references, node.values()))


def main() -> None:
    definitions = source()
    wanted = [f"{package}.{name}" for package, names in ROOTS.items() for name in names.split()]
    wanted += [f"{name}List" for name in wanted if f"{name}List" in definitions]
    kept: dict[str, Any] = {}
    while wanted:
        name = wanted.pop()
        if name in kept:
            continue
        kept[name] = plain(definitions[name])
        if name.endswith(".IntOrString"):
            kept[name]["format"] = "int-or-string"
        wanted += references(kept[name])
    TARGET.write_text(json.dumps(dict(sorted(kept.items())), separators=(",", ":")) + "\n")
    print(f"{len(kept)} definitions, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

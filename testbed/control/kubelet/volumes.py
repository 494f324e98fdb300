"""What the volumes of a Pod hold, from the objects that they name. Pure.

Source: pkg/volume/{configmap,secret,downwardapi,projected}, plugin/pkg/admission/serviceaccount,
pkg/kubelet/util/manager (which objects a Pod's volumes depend on).
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from testbed.api.documents import Document, namespace_of
from testbed.api.volumes import EmptyDir, File, Files, HostPath, Volume
from testbed.control.kubelet.environment import (
    Finder,
    MissingReferenceError,
    PodFacts,
    field_value,
    resource_value,
    secret_data,
    variables_from,
)

#: Where a container finds the token of its Pod's ServiceAccount.
TOKEN_PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"
#: The volume of the token: only its prefix is Kubernetes'.
TOKEN_VOLUME = "kube-api-access-testbed"
#: Lifetime that kubelet asks for (s), and the permissions of files by default.
TOKEN_SECONDS = 3607
_MODE = 0o644
#: By type of volume: resource, what a missing object is called, and what a missing key is.
_KINDS = {
    "configMap": ("configmaps", "configmap", "configmap references non-existent config key"),
    "secret": ("secrets", "secret", "references non-existent secret key"),
}

#: Makes a token for a Pod's ServiceAccount: (Pod, audience or "", seconds).
TokenIssuer: TypeAlias = Callable[[Document, str, int], str]


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is made when it is needed; the next `turn` is another one."""

    issue: TokenIssuer
    pod: Document = field(compare=False)
    audience: str
    seconds: int
    turn: int

    def __call__(self) -> bytes:
        return self.issue(self.pod, self.audience, self.seconds).encode()


@dataclass(frozen=True, slots=True)
class ApiAccess:
    """What Pods need to call the API server: its authority (PEM), and tokens for it."""

    ca: str
    issue: TokenIssuer


@dataclass(frozen=True, slots=True)
class Sources:
    """What volumes are filled from; `now` is the lab's clock (s), which makes tokens anew."""

    find: Finder
    access: ApiAccess | None
    now: float = 0.0


def with_api_access(pod: Document, find: Finder) -> Document:
    """The Pod with the volume of its ServiceAccount's token, mounted in every container.

    Kubernetes' admission writes this into the stored Pod; here only kubelet knows of it. A Pod or
    ServiceAccount may refuse it (automountServiceAccountToken), a container may mount something
    else in its place.
    """
    spec = pod["spec"]
    account = find("serviceaccounts", namespace_of(pod), account_of(pod)) or {}
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = account.get("automountServiceAccountToken", True)
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    if not wanted or all(_has_token(each) for each in containers):
        return pod
    changed = copy.copy(pod)
    changed["spec"] = spec = copy.copy(spec)
    mount = {"name": TOKEN_VOLUME, "mountPath": TOKEN_PLACE, "readOnly": True}
    for kind in ("initContainers", "containers"):
        if kind in spec:
            spec[kind] = [
                each
                if _has_token(each)
                else {**each, "volumeMounts": [*(each.get("volumeMounts") or ()), mount]}
                for each in spec[kind]
            ]
    spec["volumes"] = [*(spec.get("volumes") or ()), _token_volume()]
    return changed


def _has_token(container: Document) -> bool:
    return any(m["mountPath"] == TOKEN_PLACE for m in container.get("volumeMounts") or ())


def _token_volume() -> Document:
    namespace = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
    token = {"path": "token", "expirationSeconds": TOKEN_SECONDS}
    sources = [
        {"serviceAccountToken": token},
        {"certificateAuthority": {"path": "ca.crt"}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"name": TOKEN_VOLUME, "projected": {"sources": sources, "defaultMode": _MODE}}


def account_of(pod: Document) -> str:
    """The name of a Pod's ServiceAccount."""
    return str(pod["spec"].get("serviceAccountName") or "default")


def depends_on(pod: Document) -> Iterator[tuple[str, str, str]]:
    """(resource, namespace, name) of the objects that volumes and variables come from."""
    namespace = namespace_of(pod)
    spec = pod["spec"]
    for container in [*(spec.get("initContainers") or ()), *spec["containers"]]:
        for resource, name in variables_from(container):
            yield resource, namespace, name
    for volume in pod["spec"].get("volumes") or ():
        for source in [volume, *((volume.get("projected") or {}).get("sources") or ())]:
            for kind, (resource, _, _) in _KINDS.items():
                if named := source.get(kind):
                    yield resource, namespace, named.get("name") or named.get("secretName")
            if "serviceAccountToken" in source:
                yield "serviceaccounts", namespace, account_of(pod)


def renewal_of(pod: Document) -> float | None:
    """Seconds after which the tokens in a Pod's volumes are made anew; None for never.

    Source: kubelet's token manager renews at 80 % of the lifetime; the API server makes tokens of
    the default lifetime valid for a year (service-account-extend-token-expiration).
    """
    lifetimes = [
        int(source["serviceAccountToken"].get("expirationSeconds") or 3600)
        for volume in pod["spec"].get("volumes") or ()
        for source in (volume.get("projected") or {}).get("sources") or ()
        if "serviceAccountToken" in source
    ]
    return min((0.8 * each for each in lifetimes if each != TOKEN_SECONDS), default=None)


def volumes_of(
    pod: Document, facts: PodFacts, sources: Sources
) -> tuple[dict[str, Volume], dict[str, str]]:
    """What the volumes of a Pod hold, by name, and why the others can't be had."""
    found: dict[str, Volume] = {}
    problems: dict[str, str] = {}
    for volume in pod["spec"].get("volumes") or ():
        try:
            found[volume["name"]] = _volume(volume, facts, sources)
        except MissingReferenceError as error:
            problems[volume["name"]] = str(error)
    return found, problems


def _volume(volume: Document, facts: PodFacts, sources: Sources) -> Volume:
    kind = next((name for name in volume if name != "name"), "emptyDir")
    source: Document = volume.get(kind) or {}
    if kind == "emptyDir":
        return EmptyDir()
    if kind == "hostPath":
        return HostPath(source["path"], source.get("type") or "")
    mode = source.get("defaultMode", _MODE)
    if kind == "projected":
        entries: dict[str, File] = {}
        for each in source.get("sources") or ():
            entries |= _projected(each, mode, facts, sources)
        return Files(entries)
    if kind == "downwardAPI":
        return Files(_downward(source, mode, facts))
    if kind in _KINDS:
        return Files(_keys(kind, source, mode, facts, sources.find))
    if kind == "persistentVolumeClaim":
        raise MissingReferenceError(
            f'persistentvolumeclaim "{source.get("claimName")}" not found: the testbed has no '
            "persistent volumes; use emptyDir or hostPath"
        )
    raise MissingReferenceError(
        f"the testbed has no volumes of type {kind}; use emptyDir or hostPath"
    )


def _projected(source: Document, mode: int, facts: PodFacts, sources: Sources) -> dict[str, File]:
    kind, inner = next(iter(source.items()))
    if kind in _KINDS:
        return _keys(kind, inner, mode, facts, sources.find)
    if kind == "downwardAPI":
        return _downward(inner, mode, facts)
    if kind not in ("serviceAccountToken", "certificateAuthority"):
        raise MissingReferenceError(f"the testbed has no projected volumes of type {kind}")
    access = sources.access
    if access is None:
        raise MissingReferenceError("the lab has no API server that takes tokens")
    if kind == "certificateAuthority":
        return {inner["path"]: File(access.ca.encode(), mode)}
    pod, account = facts.document, account_of(facts.document)
    if sources.find("serviceaccounts", namespace_of(pod), account) is None:
        message = f'failed to fetch token: serviceaccounts "{account}" not found'
        raise MissingReferenceError(message)
    seconds = int(inner.get("expirationSeconds") or 3600)
    turn = 0 if seconds == TOKEN_SECONDS else int(sources.now / (0.8 * seconds))
    token = Token(access.issue, pod, inner.get("audience") or "", seconds, turn)
    return {inner["path"]: File(token, mode)}


def _keys(kind: str, source: Document, mode: int, facts: PodFacts, find: Finder) -> dict[str, File]:
    """The files of a ConfigMap or Secret: all keys, or those that `items` name."""
    resource, word, missing_key = _KINDS[kind]
    name = source.get("secretName") or source.get("name") or ""
    optional = bool(source.get("optional"))
    document = find(resource, namespace_of(facts.document), name)
    if document is None and not optional:
        raise MissingReferenceError(f'{word} "{name}" not found')
    data = _data(kind, document or {})
    items = source.get("items")
    if not items:
        return {key: File(value, mode) for key, value in data.items()}
    found = {}
    for item in items:
        if item["key"] in data:
            found[item["path"]] = File(data[item["key"]], item.get("mode", mode))
        elif not optional:
            raise MissingReferenceError(f"{missing_key}: {item['key']}")
    return found


def _data(kind: str, document: Document) -> dict[str, bytes]:
    if kind == "secret":
        return secret_data(document)
    data = document.get("data") or {}
    binary = document.get("binaryData") or {}
    return {
        **{key: value.encode() for key, value in data.items()},
        **{key: base64.b64decode(value) for key, value in binary.items()},
    }


def _downward(source: Document, mode: int, facts: PodFacts) -> dict[str, File]:
    found = {}
    for item in source.get("items") or ():
        if reference := item.get("fieldRef"):
            text = _field(reference["fieldPath"], facts)
        else:
            text = resource_value(item["resourceFieldRef"], facts)
        found[item["path"]] = File(text.encode(), item.get("mode", mode))
    return found


def _field(path: str, facts: PodFacts) -> str:
    """A field; all labels or annotations as sorted lines `key="value"`."""
    whole = path.removeprefix("metadata.")
    if whole in ("labels", "annotations"):
        values = facts.document["metadata"].get(whole) or {}
        return "\n".join(f"{key}={quoted(str(values[key]))}" for key in sorted(values))
    return field_value(path, facts)


def quoted(text: str) -> str:
    """A string as Go's %q prints it."""
    special = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(special.get(letter, letter) for letter in text) + '"'

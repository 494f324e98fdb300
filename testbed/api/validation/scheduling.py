"""Validation of what the scheduler reads: affinity, tolerations, taints, spread constraints.

Source: pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.api.documents import Document
from testbed.api.gojson import GoStruct
from testbed.api.status import ErrorType, FieldError
from testbed.api.validation import meta
from testbed.api.validation.names import (
    NOT_POSITIVE,
    dns_label,
    dns_subdomain,
    each,
    label_key,
    label_value,
)

#: Operators of tolerations whose feature gate is off; they are named all the same.
_COMPARISONS = ("Lt", "Gt")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def tolerations(entries: Sequence[Document], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, entry in enumerate(entries):
        errors += _toleration(entry, f"{path}[{i}]")
    return errors


def _toleration(entry: Document, where: str) -> list[FieldError]:
    key, operator = entry.get("key", ""), entry.get("operator", "")
    value, effect = entry.get("value", ""), entry.get("effect", "")
    errors: list[FieldError] = []
    if key:
        errors += each(f"{where}.key", key, label_key)
    elif operator != "Exists":
        words = (
            "operator must be Exists when `key` is empty, which means "
            '"match all values and all keys"'
        )
        errors.append(FieldError.invalid(f"{where}.operator", operator, words))
    if "tolerationSeconds" in entry and effect != "NoExecute":
        words = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        errors.append(FieldError.invalid(f"{where}.effect", effect, words))
    if operator in ("", "Equal"):
        if messages := label_value(value):
            errors.append(FieldError.invalid(f"{where}.operator", value, ";".join(messages)))
    elif operator == "Exists":
        if value:
            words = "value must be empty when `operator` is 'Exists'"
            errors.append(FieldError.invalid(f"{where}.operator", value, words))
    else:
        supported = ("Equal", "Exists", *(_COMPARISONS if operator in _COMPARISONS else ()))
        errors.append(FieldError.not_supported(f"{where}.operator", operator, supported))
    if effect and effect not in _EFFECTS:
        errors.append(FieldError.not_supported(f"{where}.effect", effect, _EFFECTS))
    return errors


def taints(entries: Sequence[Document], path: str) -> list[FieldError]:
    """A node's taints: each (key, effect) once."""
    errors: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for i, entry in enumerate(entries):
        where = f"{path}[{i}]"
        key, effect = entry.get("key", ""), entry.get("effect", "")
        errors += each(f"{where}.key", key, label_key)
        if messages := label_value(entry.get("value", "")):
            value = entry.get("value", "")
            errors.append(FieldError.invalid(f"{where}.value", value, ";".join(messages)))
        if not effect:
            errors.append(FieldError.required(f"{where}.effect"))
        elif effect not in _EFFECTS:
            errors.append(FieldError.not_supported(f"{where}.effect", effect, _EFFECTS))
        if (key, effect) in seen:
            shown = GoStruct(
                Key=key,
                Value=entry.get("value", ""),
                Effect=effect,
                TimeAdded=entry.get("timeAdded"),
            )
            words = "taints must be unique by key and effect pair"
            errors.append(FieldError(where, ErrorType.DUPLICATE, shown, words))
        seen.add((key, effect))
    return errors


def spread_constraints(entries: Sequence[Document], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, entry in enumerate(entries):
        errors += _spread_constraint(entry, entries[i + 1 :], f"{path}[{i}]")
    return errors


def _spread_constraint(entry: Document, later: Sequence[Document], where: str) -> list[FieldError]:
    skew, key = entry.get("maxSkew", 0), entry.get("topologyKey", "")
    action, domains = entry.get("whenUnsatisfiable", ""), entry.get("minDomains")
    errors: list[FieldError] = []
    if skew <= 0:
        errors.append(FieldError.invalid(f"{where}.maxSkew", skew, NOT_POSITIVE))
    if not key:
        errors.append(FieldError.required(f"{where}.topologyKey", "can not be empty"))
    actions = ("DoNotSchedule", "ScheduleAnyway")
    if action not in actions:
        errors.append(FieldError.not_supported(f"{where}.whenUnsatisfiable", action, actions))
    pairs = [(other.get("topologyKey", ""), other.get("whenUnsatisfiable", "")) for other in later]
    if (key, action) in pairs:
        path = f"{where}.{{topologyKey, whenUnsatisfiable}}"
        errors.append(FieldError.duplicate(path, f"{{{key}, {action}}}"))
    if domains is not None and domains <= 0:
        errors.append(FieldError.invalid(f"{where}.minDomains", domains, NOT_POSITIVE))
    if domains is not None and action != "DoNotSchedule":
        words = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
        errors.append(FieldError.invalid(f"{where}.minDomains", domains, words))
    for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        policy = entry.get(name)
        if policy is not None and policy not in ("Honor", "Ignore"):
            errors.append(FieldError.not_supported(f"{where}.{name}", policy, ("Honor", "Ignore")))
    errors += _label_keys(entry, where)
    return errors + meta.label_selector(entry.get("labelSelector", {}), f"{where}.labelSelector")


def _named_twice(keys: Sequence[str], selector: Document | None, path: str) -> list[FieldError]:
    """Keys that the selector has besides the requirement that was made of them.

    The index is the key's, behind the path of what has the keys, as Kubernetes writes it.
    """
    places = {key: i for i, key in enumerate(keys)}
    seen = set((selector or {}).get("matchLabels", {}))
    errors = []
    for requirement in (selector or {}).get("matchExpressions", ()):
        key = requirement.get("key", "")
        if key in places and key in seen:
            words = "exists in both matchLabelKeys and labelSelector"
            errors.append(FieldError.invalid(f"{path}[{places[key]}]", key, words))
        seen.add(key)
    return errors


def affinity(value: Document, path: str) -> list[FieldError]:
    """Node affinity, Pod affinity and anti-affinity."""
    errors: list[FieldError] = []
    node = value.get("nodeAffinity", {})
    if _REQUIRED in node:
        errors += _node_selector(node[_REQUIRED], f"{path}.nodeAffinity.{_REQUIRED}")
    for i, term in enumerate(node.get(_PREFERRED, ())):
        where = f"{path}.nodeAffinity.{_PREFERRED}[{i}]"
        errors += _weight(term, where)
        errors += _node_term(term.get("preference", {}), f"{where}.preference", strict=False)
    for name in ("podAffinity", "podAntiAffinity"):
        pods = value.get(name, {})
        for i, term in enumerate(pods.get(_REQUIRED, ())):
            errors += _pod_term(term, f"{path}.{name}.{_REQUIRED}[{i}]")
        for i, weighted in enumerate(pods.get(_PREFERRED, ())):
            where = f"{path}.{name}.{_PREFERRED}[{i}]"
            errors += _weight(weighted, where)
            term = weighted.get("podAffinityTerm", {})
            errors += _pod_term(term, f"{where}.podAffinityTerm")
    return errors


def _weight(term: Document, where: str) -> list[FieldError]:
    weight = term.get("weight", 0)
    if 1 <= weight <= 100:
        return []
    return [FieldError.invalid(f"{where}.weight", weight, "must be in the range 1-100")]


def _node_selector(selector: Document, path: str) -> list[FieldError]:
    terms = selector.get("nodeSelectorTerms", ())
    if not terms:
        words = "must have at least one node selector term"
        return [FieldError.required(f"{path}.nodeSelectorTerms", words)]
    errors: list[FieldError] = []
    for i, term in enumerate(terms):
        errors += _node_term(term, f"{path}.nodeSelectorTerms[{i}]", strict=True)
    return errors


def _node_term(term: Document, path: str, *, strict: bool) -> list[FieldError]:
    """One term; what is only preferred may name values that no label can have."""
    errors: list[FieldError] = []
    for i, requirement in enumerate(term.get("matchExpressions", ())):
        where = f"{path}.matchExpressions[{i}]"
        errors += _node_requirement(requirement, where)
        errors += each(f"{where}.key", requirement.get("key", ""), label_key)
        for j, value in enumerate(requirement.get("values", ()) if strict else ()):
            errors += each(f"{where}.values[{j}]", value, label_value)
    for i, requirement in enumerate(term.get("matchFields", ())):
        where, key = f"{path}.matchFields[{i}]", requirement.get("key", "")
        if requirement.get("operator", "") not in ("In", "NotIn"):
            words = "not a valid selector operator"
            value = requirement.get("operator", "")
            errors.append(FieldError.invalid(f"{where}.operator", value, words))
        elif len(requirement.get("values", ())) != 1:
            words = (
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            )
            errors.append(FieldError.required(f"{where}.values", words))
        if key != "metadata.name":
            words = "not a valid field selector key"
            errors.append(FieldError.invalid(f"{where}.key", key, words))
        else:
            for j, name in enumerate(requirement.get("values", ())):
                errors += each(f"{where}.values[{j}]", name, dns_subdomain)
    return errors


def _node_requirement(requirement: Document, where: str) -> list[FieldError]:
    operator, values = requirement.get("operator", ""), requirement.get("values", ())
    match operator:
        case "In" | "NotIn":
            if not values:
                words = "must be specified when `operator` is 'In' or 'NotIn'"
                return [FieldError.required(f"{where}.values", words)]
        case "Exists" | "DoesNotExist":
            if values:
                words = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                return [FieldError.forbidden(f"{where}.values", words)]
        case "Gt" | "Lt":
            if len(values) != 1:
                words = "must be specified single value when `operator` is 'Lt' or 'Gt'"
                return [FieldError.required(f"{where}.values", words)]
        case _:
            words = "not a valid selector operator"
            return [FieldError.invalid(f"{where}.operator", operator, words)]
    return []


def _pod_term(term: Document, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in ("labelSelector", "namespaceSelector"):
        errors += meta.label_selector(term.get(name, {}), f"{path}.{name}")
    for namespace in term.get("namespaces", ()):
        errors += each(f"{path}.namespace", namespace, dns_label)
    errors += _label_keys(term, path)
    key = term.get("topologyKey", "")
    if not key:
        errors.append(FieldError.required(f"{path}.topologyKey", "can not be empty"))
    return errors + each(f"{path}.topologyKey", key, label_key)


def _label_keys(term: Document, path: str) -> list[FieldError]:
    """Labels of the Pod itself that join the selector, as equal or as other values.

    The selector already has them when it is checked.
    """
    selector: Document | None = term.get("labelSelector")
    wanted, unwanted = term.get("matchLabelKeys", ()), term.get("mismatchLabelKeys", ())
    errors: list[FieldError] = []
    for name, keys in (("matchLabelKeys", wanted), ("mismatchLabelKeys", unwanted)):
        if keys and selector is None:
            words = "must not be specified when labelSelector is not set"
            errors.append(FieldError.forbidden(f"{path}.{name}", words))
        elif keys:
            for i, key in enumerate(keys):
                errors += each(f"{path}.{name}[{i}]", key, label_key)
    errors += _named_twice(wanted, selector, path)
    for i, key in enumerate(wanted):
        if key in unwanted:
            words = "exists in both matchLabelKeys and mismatchLabelKeys"
            errors.append(FieldError.invalid(f"{path}.matchLabelKeys[{i}]", key, words))
    return errors


def changed_node_affinity(value: Document, old: Document, path: str) -> list[FieldError]:
    """A required node affinity may only be narrowed: more requirements, no other terms."""
    before = old.get(_REQUIRED, {}).get("nodeSelectorTerms", ())
    after = value.get(_REQUIRED, {}).get("nodeSelectorTerms", ())
    where = f"{path}.{_REQUIRED}.nodeSelectorTerms"
    if not before:
        return []
    if len(before) != len(after):
        words = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        shown = [_go_term(term) for term in after] or None
        return [FieldError.invalid(where, shown, words)]
    words = "only additions are allowed (no mutations or deletions)"
    return [
        FieldError.invalid(f"{where}[{i}]", _go_term(term), words)
        for i, (term, known) in enumerate(zip(after, before, strict=True))
        if not _narrowed(term, known)
    ]


def _narrowed(term: Document, old: Document) -> bool:
    parts = ("matchExpressions", "matchFields")
    if not any(old.get(part) for part in parts):
        return not any(term.get(part) for part in parts)
    return all(
        list(term.get(part, ()))[: len(old.get(part, ()))] == list(old.get(part, ()))
        for part in parts
    )


def _go_term(term: Document) -> GoStruct:
    """A node selector's term as messages print it."""

    def requirements(name: str) -> list[GoStruct] | None:
        if name not in term:
            return None
        return [
            GoStruct(
                Key=entry.get("key", ""),
                Operator=entry.get("operator", ""),
                Values=entry.get("values"),
            )
            for entry in term[name]
        ]

    expressions = requirements("matchExpressions")
    return GoStruct(MatchExpressions=expressions, MatchFields=requirements("matchFields"))

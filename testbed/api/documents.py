"""Kubernetes objects as documents: plain dicts in the API's JSON shape, made from YAML."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from testbed.errors import UsageError

#: An object as the API carries it: JSON values under their API field names.
Document: TypeAlias = dict[str, Any]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML whose timestamps stay strings, as in JSON, and whose maps name a key once.

    Where `repeated` is a list, a key that stands twice is noted there instead of refused.
    """

    repeated: list[str] | None = None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, item in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen and self.repeated is not None:
                    line = item.start_mark.line + 1
                    self.repeated.append(f'  line {line}: key "{key.value}" already set in map')
                elif key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} is there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


#: `<<` merges where it is a key; as a value it is text, as `=` is.
for _tag in ("merge", "value"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_yaml_str)


def load_documents(text: str, source: str) -> list[Document]:
    """Every object in the YAML (or JSON) stream `text`; a List is opened.

    `source` names the text in messages. Raises UsageError where the text doesn't parse or a
    document is not an object with apiVersion and kind.
    """
    try:
        loaded = list(yaml.load_all(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" line {mark.line + 1}" if mark else ""
        raise UsageError(f"{source}:{place} isn't valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{source}: isn't valid YAML: {str(error).splitlines()[0]}") from None
    return [item for entry in loaded if entry is not None for item in _open_list(entry, source)]


#: Deepest nesting, and most values once aliases are expanded, of a document from the network.
DEPTH_LIMIT = 1_000
SIZE_LIMIT = 1_000_000


def load_value(text: str, repeated: list[str] | None = None) -> Any:
    """The one YAML value in `text`, of whatever type.

    Keys that a map has twice are noted in `repeated`, or refused where it isn't given.

    Raises yaml.YAMLError, and ValueError for text made to exhaust the reader: nesting that would
    overrun the stack of the C parser, aliases that expand without end.
    """
    if len(text) > DEPTH_LIMIT:
        _check_depth(text)
    loader = _Loader(text)
    loader.repeated = repeated
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _expanded(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH_LIMIT:
            raise ValueError("nested too deeply")


def _expanded(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values `node` stands for."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = SIZE_LIMIT + 1  # met again inside itself: without end
    size = 1
    if isinstance(node, yaml.SequenceNode):
        size += sum(_expanded(item, known) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        size += sum(_expanded(part, known) for pair in node.value for part in pair)
    if size > SIZE_LIMIT:
        raise ValueError("aliases expand to too many values")
    known[id(node)] = size
    return size


def load_file(path: Path | str) -> list[Document]:
    """The objects in file `path`; raises UsageError for a file that can't be read or parsed."""
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not a text file") from None
    return load_documents(text, str(path))


def _open_list(entry: object, source: str) -> Iterator[Document]:
    if not isinstance(entry, dict):
        raise UsageError(f"{source}: a {type(entry).__name__} where an object is expected")
    for field in ("apiVersion", "kind"):
        if not isinstance(entry.get(field), str):
            raise UsageError(f"{source}: an object without {field}")
    if entry["kind"].endswith("List") and isinstance(entry.get("items"), list):
        for item in entry["items"]:
            yield from _open_list(item, source)
        return
    what = f"{source}: a {entry['kind']}"
    metadata = entry.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise UsageError(f"{what} whose metadata is a {type(metadata).__name__}, not an object")
    for field in ("name", "namespace"):
        value = (metadata or {}).get(field)
        if value is not None and not isinstance(value, str):
            raise UsageError(
                f"{what} whose metadata.{field} is {value!r}: quote it to make it text"
            )
    yield entry


def name_of(document: Document) -> str:
    """`metadata.name`, or "" where there is none."""
    return str((document.get("metadata") or {}).get("name") or "")


def namespace_of(document: Document) -> str:
    """`metadata.namespace`, or "" where there is none."""
    return str((document.get("metadata") or {}).get("namespace") or "")


def copy_value(value: Any) -> Any:
    """A deep copy of a JSON value, several times faster than copy.deepcopy."""
    if isinstance(value, dict):
        return {key: copy_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copy_value(item) for item in value]
    return value


def copy_document(document: Document) -> Document:
    """A deep copy of an object."""
    return {key: copy_value(item) for key, item in document.items()}

"""Writes testbed/control/apiserver/protobuf_fields.json: the field numbers of the kinds we serve.

The numbers are those of generated.proto in k8s.io/api and k8s.io/apimachinery, v0.36, for every
message that testbed/api/schema.json has. Run: `python tools/build_protobuf.py FOLDER`, where FOLDER
holds `k8s.io/` (Debian's golang-k8s-api-dev puts it under /usr/share/gocode/src).
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from testbed.api import schema

TARGET = Path(__file__).parents[1] / "testbed/control/apiserver/protobuf_fields.json"
PACKAGE = re.compile(r"^package ([\w.]+);", re.M)
MESSAGE = re.compile(r"^message (\w+) \{(.*?)^\}", re.M | re.S)
FIELD = re.compile(r"^\s*(?:optional|repeated)?\s*(map<.*>|[\w.]+) (\w+) = (\d+);", re.M)

#: A message's fields by number: (type, name).
Message = dict[int, tuple[str, str]]
#: What the table has for a number: a field, or the fields of a message that JSON has inline.
Entry = str | dict[str, str]


def messages(folder: Path) -> dict[str, Message]:
    """Every message below `folder`, by its definition's name in the schema."""
    found = {}
    for path in sorted((folder / "k8s.io").glob("**/generated.proto")):
        text = path.read_text()
        package = PACKAGE.search(text)
        assert package is not None, path
        for name, body in MESSAGE.findall(text):
            fields = {int(number): (kind, field) for kind, field, number in FIELD.findall(body)}
            found[_definition(f"{package[1]}.{name}")] = fields
    return found


def _definition(message: str) -> str:
    return message.lstrip(".").replace("k8s.io.", "io.k8s.", 1)


def entry(name: str, kind: str, field: str, known: dict[str, Message]) -> Entry | None:
    """What stands in the table for one field of definition `name`; None: JSON doesn't have it."""
    fields = schema.struct(name).fields
    for each in fields:
        if each.lower() == field.lower():  # BoundObjectReference has uID for uid
            return each
    inner = known.get(_definition(kind)) or known.get(f"{name.rpartition('.')[0]}.{kind}")
    if inner is None:
        return None
    inline = {str(number): each for number, (_, each) in inner.items()}
    strangers = set(inline.values()) - set(fields)
    assert not strangers, f"{name}.{field}: {strangers} aren't in the schema"
    return inline


def main(folder: Path) -> None:
    known = messages(folder)
    table: dict[str, dict[str, Entry]] = {}
    for name in sorted(schema.definitions()):
        if name in known:
            found = {
                str(number): entry(name, kind, field, known)
                for number, (kind, field) in known[name].items()
            }
            table[schema.struct(name).go] = {
                number: each for number, each in found.items() if each is not None
            }
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(each)}" for name, each in table.items())
    TARGET.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""What Kubernetes 1.36 made of random strategic merge patches and JSON patches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.api.decoding import decode
from testbed.api.encoding import encode
from testbed.api.schema import kind_struct
from testbed.api.unstructured import ConvertError, convert
from testbed.control.apiserver.patch.json import PatchError, json_patch
from testbed.control.apiserver.patch.shape import shape_of
from testbed.control.apiserver.patch.strategic import strategic_merge_patch

RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[3] / "golden" / "patches.json").read_text()
)


def typed(document: Any, case: dict[str, Any]) -> Any:
    definition = kind_struct(case["apiVersion"], case["kind"])
    assert definition is not None
    return encode(decode(convert(document, definition), definition)[0], definition)


@pytest.mark.parametrize("case", RECORDED, ids=[str(i) for i in range(len(RECORDED))])
def test_patch_leaves_the_recorded_object(case: dict[str, Any]) -> None:
    answer: dict[str, Any] = {}
    try:
        if case["operation"] == "json":
            answer["result"] = json_patch(case["object"], case["patch"])
        else:
            shape = shape_of(case["apiVersion"], case["kind"])
            new = strategic_merge_patch(case["object"], case["patch"], shape)
            answer["result"] = typed(new, case)
    except PatchError as error:
        answer["error"] = True if case["operation"] == "json" else str(error)
    except ConvertError as error:
        answer["error"] = str(error)
    expected = {name: case[name] for name in ("result", "error") if name in case}
    if case["operation"] == "strategic" and "result" in expected:
        expected["result"] = typed(expected["result"], case)
    assert answer == expected

"""Bodies that aren't what their URL is for, in JSON and YAML, and fields that stand twice."""

from __future__ import annotations

import pytest

from testbed.api.bodies import read_json, read_yaml
from testbed.api.resources import ResourceType, by_kind
from testbed.api.status import StatusError


def resource(api_version: str, kind: str) -> ResourceType:
    found = by_kind(api_version, kind)
    assert found is not None
    return found


SERVICE = resource("v1", "Service")


def refused(body: str, validation: str = "Strict") -> str:
    with pytest.raises(StatusError) as caught:
        read_json(body.encode(), SERVICE, validation)
    assert caught.value.code == 400
    return caught.value.message


def test_a_field_that_stands_twice_is_decoded_onto_itself() -> None:
    body = b'{"spec":{"type":"NodePort"},"spec":{"clusterIP":"None"}}'
    document, warnings = read_json(body, SERVICE, "Warn")
    assert document["spec"] == {"type": "NodePort", "clusterIP": "None"}
    assert warnings == ['duplicate field "spec"']


def test_strict_errors_come_in_the_order_of_the_text() -> None:
    body = '{"foo":1,"spec":{"type":"a","type":"b","bar":2}}'
    assert refused(body) == (
        'Service in version "v1" cannot be handled as a Service: strict decoding error: '
        'unknown field "foo", duplicate field "spec.type", unknown field "spec.bar"'
    )


def test_a_mistyped_value_comes_before_strict_errors() -> None:
    body = '{"foo":1,"spec":{"ports":[{"port":80.0}]}}'
    assert refused(body).endswith(
        "json: cannot unmarshal number 80.0 into Go struct field ServicePort.spec.ports.port "
        "of type int32"
    )


def test_error_in_an_embedded_struct_names_it() -> None:
    pod = resource("v1", "Pod")
    with pytest.raises(StatusError, match=r"Volume\.spec\.volumes\.VolumeSource\.emptyDir of"):
        read_json(b'{"spec":{"volumes":[{"emptyDir":"x"}]}}', pod, "Warn")


def test_text_that_is_no_json_is_shown_with_gos_complaint() -> None:
    assert refused('{"kind":"Service","spec":tru}') == (
        "the object provided is unrecognized (must be of type Service): couldn't get "
        "version/kind; json parse error: invalid character '}' in literal true (expecting 'e') "
        '({"kind":"Service","spec":tru})'
    )


def test_kind_that_is_served_nowhere_is_known_all_the_same() -> None:
    assert refused('{"apiVersion":"batch/v1","kind":"CronJob"}') == (
        'CronJob in version "v1" cannot be handled as a Service: '
        "converting (v1.CronJob) to (core.Service): unknown conversion"
    )


def test_yaml_body_is_read_and_its_repeated_keys_are_named() -> None:
    text = b"metadata:\n  name: web\n  name: other\nspec:\n  foo: 1\n"
    document, warnings = read_yaml(text, SERVICE, "Warn")
    assert document["metadata"] == {"name": "other"}
    assert warnings == [
        'yaml: unmarshal errors:\n  line 3: key "name" already set in map',
        'unknown field "spec.foo"',
    ]


def test_yaml_that_does_not_parse_is_refused_in_gos_words() -> None:
    with pytest.raises(StatusError) as caught:
        read_yaml(b"a: b\nc: d: e\n", SERVICE, "Warn")
    assert "(must be of type Service): yaml: line 2: mapping values are not allowed" in (
        caught.value.message
    )

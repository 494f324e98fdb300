"""What part of a log a query asks for."""

from __future__ import annotations

import pytest

from testbed.api.status import StatusError
from testbed.control.apiserver.connect import log_options

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2025-12-31T23:59:30Z", 30.0),
        ("2025-12-31T23:59:30.999999999Z", 30.0),
        ("2026-01-01T00:59:50+01:00", 10.0),
        ("2026-01-01T00:00:10Z", 0.0),
    ],
)
def test_a_log_can_be_asked_for_from_a_time_on(text: str, seconds: float) -> None:
    assert log_options({"sinceTime": text}, "p", NOW).since == seconds


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        (
            {"tailLines": "-1", "limitBytes": "0"},
            422,
            'PodLogOptions "p" is invalid: [tailLines: Invalid value: -1: must be greater than or '
            "equal to 0, limitBytes: Invalid value: 0: must be greater than 0]",
        ),
        (
            {"sinceSeconds": "0"},
            422,
            'PodLogOptions "p" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0',
        ),
        (
            {"stream": "Stdout"},
            422,
            'PodLogOptions "p" is invalid: stream: Forbidden: may not be specified',
        ),
        (
            {"sinceTime": "yesterday"},
            400,
            'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": '
            'cannot parse "yesterday" as "2006"',
        ),
        ({"tailLines": "x"}, 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
    ],
)
def test_what_is_no_part_of_a_log_is_refused(
    query: dict[str, str], code: int, message: str
) -> None:
    with pytest.raises(StatusError) as caught:
        log_options(query, "p", NOW)
    assert (caught.value.code, caught.value.message) == (code, message)


def test_only_one_beginning_is_taken() -> None:
    with pytest.raises(StatusError, match="at most one of `sinceTime` or `sinceSeconds`"):
        log_options({"sinceSeconds": "5", "sinceTime": "2025-12-31T23:59:30Z"}, "p", NOW)

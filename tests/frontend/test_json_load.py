"""Files that are an array of records, against the standard library's idea of JSON."""

from __future__ import annotations

import io
import json
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend import json_load
from frontend.errors import Refused

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def loaded(content: bytes) -> list[dict[str, Any]]:
    return list(chain.from_iterable(json_load.parsed(io.BytesIO(content))))


@given(st.lists(st.dictionaries(st.text(), VALUES)), st.sampled_from([None, 1]))
def test_records_arrive_as_they_were_written(records: list[dict[str, Any]], indent: int | None) -> None:
    assert loaded(json.dumps(records, indent=indent).encode()) == records


def test_long_files_come_in_chunks() -> None:
    content = json.dumps([{"id": number, "note": "x" * 100} for number in range(2500)]).encode()
    assert [len(chunk) for chunk in json_load.parsed(io.BytesIO(content))] == [1000, 1000, 500]


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[", b"[  ", b"{}", b"[1]", b"[{}", b"[{},", b"[{},]", b"[{} {}]", b'[{"a":', b"x"),
        b'[{"a":' + b"1" * 5000 + b"}]",
    ],
)
def test_what_is_no_array_of_records_is_refused(content: bytes) -> None:
    with pytest.raises(Refused) as refused:
        loaded(content)
    assert refused.value.status == 400

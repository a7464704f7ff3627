"""The OpenAPI document, and what happens to requests that are made from it."""

from __future__ import annotations

import collections
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from conftest import ADMIN, PASSWORD, Api, working

import engine
from frontend.app import create_app
from frontend.authentication import create_first_user
from frontend.errors import STATUS
from frontend.operations import TABLE

#: What most requests need to get beyond their first check.
THERE = {"schema": {"enum": ["data"]}, "database": {"enum": ["data"]}, "table": {"enum": ["goat", "new"]}}

EXAMPLES = 20_000 if os.environ.get("KENNEL_TORTURE") == "long" else 150


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with engine.open_node(Path(tmp_path_factory.mktemp("openapi"))) as node, working(node):
        create_first_user(node, ADMIN, PASSWORD)
        node.create_table("data", "goat").insert([{"id": 1, "name": "Ivy"}])
        yield Api(create_app(node))


def document(api: Api) -> dict[str, Any]:
    answer = api.app.test_client().get("/openapi.json")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    return dict(json.loads(answer.data))


def test_every_operation_is_described_with_its_members(served: Api) -> None:
    schemas = document(served)["components"]["schemas"]
    assert set(TABLE) <= set(schemas)
    search = schemas["search_by_value"]
    assert search["properties"]["operation"] == {"const": "search_by_value"}
    assert search["properties"]["limit"] == {"type": "integer", "minimum": 1}
    assert search["properties"]["search_attribute"] == search["properties"]["attribute"]
    assert search["required"] == ["operation", "table"]
    assert {"anyOf": [{"required": ["search_value"]}, {"required": ["value"]}]} in search["allOf"]


def test_every_status_of_an_error_is_described(served: Api) -> None:
    described = document(served)["paths"]["/"]["post"]["responses"]
    assert {str(status) for status in STATUS.values()} <= set(described)


@pytest.mark.torture
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_requests_made_from_the_document_are_never_a_fault(served: Api, mode: str) -> None:
    """Requests that fit the document, and such that miss it in one place."""
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: no requests are made")
    described = document(served)
    body = described["paths"]["/"]["post"]["requestBody"]
    body["content"] = {"application/json": body["content"]["application/json"]}
    for request in described["components"]["schemas"].values():
        request["properties"] |= {
            name: values for name, values in THERE.items() if name in request["properties"] and mode == "positive"
        }
    schema = schemathesis.openapi.from_dict(described)
    cases = schema["/"]["POST"].as_strategy(generation_mode=schemathesis.GenerationMode(mode))
    served.ok("add_user", username=f"fuzz {mode}", password="pw", role="super_user", active=True)
    fuzz = served.as_user(f"fuzz {mode}")
    seen: collections.Counter[tuple[str, int]] = collections.Counter()

    @hypothesis.settings(max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(case=cases)
    def run(case: Any) -> None:
        request = case.body if case.body is not schemathesis.core.NOT_SET else None
        sent = request if isinstance(request, bytes) else json.dumps(request).encode()
        reply = fuzz.send(sent, {"Accept": "application/json"})
        assert reply.status < 500 or reply.status == 503, (request, reply)
        assert reply.status != 401 or reply.body["error"] in ("invalid credentials", "invalid token", "Login failed")
        named = request.get("operation") if isinstance(request, dict) else None
        seen[(named if isinstance(named, str) and named in TABLE else "", reply.status)] += 1

    run()
    print(mode, sum(seen.values()), dict(collections.Counter(status for _, status in seen.elements())))
    if mode == "positive" and EXAMPLES > 10_000:
        assert {name for name, _ in seen} >= set(TABLE)

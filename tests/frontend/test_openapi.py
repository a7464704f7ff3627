"""The OpenAPI document, and what happens to requests that are made from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from conftest import ADMIN, PASSWORD, Api, basic, working

import engine
from frontend.app import create_app
from frontend.authentication import create_first_user
from frontend.operations import TABLE

#: Operations that would outlive an example: without their first user or their configuration the others mean nothing.
LASTING = {"set_configuration", "alter_user", "drop_user", "add_user", "alter_role"}


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


def test_requests_made_from_the_document_are_never_a_fault(served: Api) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: no requests are made")
    described = document(served)
    content = described["paths"]["/"]["post"]["requestBody"]["content"]
    for media_type in set(content) - {"application/json"}:
        del content[media_type]
    one_of = content["application/json"]["schema"]
    one_of["oneOf"] = [choice for choice in one_of["oneOf"] if choice["$ref"].rpartition("/")[2] not in LASTING]
    del one_of["discriminator"]
    schema = schemathesis.openapi.from_dict(described)
    headers = {"Authorization": basic(ADMIN, PASSWORD)}

    @hypothesis.settings(max_examples=150, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(case=schema["/"]["POST"].as_strategy())
    def run(case: Any) -> None:
        body = json.dumps(case.body if case.body is not schemathesis.core.NOT_SET else None).encode()
        reply = served.send(body, {"Accept": "application/json", **headers})
        assert reply.status < 500 or reply.status == 503, (body, reply)

    run()

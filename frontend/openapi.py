"""The OpenAPI document of the operations API, made from the table of operations.

All operations are requests to one path, told apart by their member `operation`; a member with synonyms appears under
each of its labels. Checks go further than a schema can say, so a request that fits the document may still get a 400.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import engine
from frontend import wire
from frontend.errors import PRODUCT
from frontend.operations import TABLE
from frontend.operations.members import SCHEMAS, Member
from frontend.operations.row import Operation

VERSION = "3.1.0"

_PROBLEMS = {
    400: "The request is not acceptable",
    401: "The sender is not known",
    403: "The sender may not do this",
    404: "A schema, table, role or user does not exist",
    406: "No format of the Accept header can be served",
    409: "It is in the way of what there is, or of a concurrent change",
    413: "The request is too large",
    415: "The request has a format that is not understood",
    429: "Too many failed logins",
    503: "Busy, or a process or node that is needed does not answer",
    504: "A statement took longer than it may",
    507: "The disk is full",
}
_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


@lru_cache(maxsize=1)
def document() -> bytes:
    """The document as JSON."""
    return wire.encode_json(
        {
            "openapi": VERSION,
            "info": {"title": PRODUCT, "version": engine.__version__, "description": __doc__},
            "paths": {"/": {"post": _operation_path()}, "/health": {"get": _health_path()}},
            "components": {
                "schemas": {"error": _ERROR, **{row.name: _request(row) for row in TABLE.values()}},
                "securitySchemes": {
                    "basic": {"type": "http", "scheme": "basic"},
                    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                },
            },
        }
    )


def _operation_path() -> dict[str, Any]:
    references = {name: f"#/components/schemas/{name}" for name in sorted(TABLE)}
    schema = {
        "oneOf": [{"$ref": reference} for reference in references.values()],
        "discriminator": {"propertyName": "operation", "mapping": references},
    }
    formats = (wire.JSON, wire.CBOR, wire.MESSAGE_PACK)
    return {
        "operationId": "operation",
        "summary": "Perform an operation",
        "security": [{"basic": []}, {"token": []}],
        "requestBody": {"required": True, "content": {kind: {"schema": schema} for kind in formats}},
        "responses": {
            "200": {"description": "The result", "content": {kind: {} for kind in (*formats, wire.CSV, "*/*")}},
            **{str(status): _problem(text) for status, text in _PROBLEMS.items()},
        },
    }


def _health_path() -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {"operationId": "health", "responses": {"200": {"description": "The node serves", "content": content}}}


def _problem(text: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {wire.JSON: {"schema": {"$ref": "#/components/schemas/error"}}},
    }


def _request(row: Operation) -> dict[str, Any]:
    properties: dict[str, Any] = {"operation": {"const": row.name}}
    alternatives = []
    required = ["operation"]
    for member in row.members:
        labels = member.labels or (member.name,)
        properties |= dict.fromkeys(labels, _schema(member))
        if member.required and len(labels) == 1:
            required.append(labels[0])
        elif member.required:
            alternatives.append({"anyOf": [{"required": [label]} for label in labels]})
    schema = {"type": "object", "properties": properties, "required": required}
    return schema | ({"allOf": alternatives} if alternatives else {})


def _schema(member: Member) -> dict[str, Any]:
    schema = SCHEMAS.get(member.check, {})
    if member.null_is_absent and schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema

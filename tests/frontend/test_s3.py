"""Imports from and exports to S3, with a server of the tests' own in its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Api
from test_jobs import GOAT, ended, outcome

moto = pytest.importorskip("moto.server", reason="moto is not installed: S3 is not tested")
boto3 = pytest.importorskip("boto3", reason="boto3 is not installed: S3 is not tested")

KEYS = {"aws_access_key_id": "id", "aws_secret_access_key": "secret", "region": "us-east-1"}
PLACE = {**KEYS, "bucket": "goats"}
SEARCH = {"operation": "search_by_value", "schema": "farm", "table": "goat", "attribute": "id", "value": "*"}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(address: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
    client = boto3.client(
        "s3", aws_access_key_id="id", aws_secret_access_key="secret", region_name="us-east-1", endpoint_url=address
    )
    client.create_bucket(Bucket="goats")
    return client


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("more.csv", "id,name\n7,Zoe\n1,Twice\n8,Max\n"),
        ("more.json", json.dumps([{"id": 7, "name": "Zoe", "tags": ["a, b]"]}, {"id": 1}, {"id": 8}])),
    ],
)
def test_records_are_imported(farm: Api, bucket: Any, key: str, content: str) -> None:
    bucket.put_object(Bucket="goats", Key=key, Body=content.encode())
    done = outcome(farm, "import_from_s3", **GOAT, s3={**PLACE, "key": key})
    assert done == ("COMPLETE", "successfully loaded 2 of 3 records")
    found = farm.ok("search_by_hash", **GOAT, hash_values=[1, 7, 8], get_attributes=["name"])
    assert [row["name"] for row in found][:2] == ["Ivy", "Zoe"]


def test_what_is_not_there_shows_in_the_job(farm: Api, bucket: Any) -> None:
    status, message = outcome(farm, "import_from_s3", **GOAT, s3={**PLACE, "key": "no.csv"})
    assert status == "ERROR" and message.startswith("S3: ") and "NoSuchKey" in message
    bucket.put_object(Bucket="goats", Key="odd.json", Body=b'{"id": 1}')
    status, message = outcome(farm, "import_from_s3", **GOAT, s3={**PLACE, "key": "odd.json"})
    assert status == "ERROR" and message.startswith("The file is not a JSON array of records")


def test_what_an_import_needs(farm: Api) -> None:
    everything = (
        "S3 can't be blank,S3 aws access key id can't be blank,S3 aws secret access key can't be blank,"
        "S3 bucket can't be blank,S3 key can't be blank,S3 region can't be blank"
    )
    assert farm("import_from_s3", **GOAT).error == (400, everything)
    assert farm("import_from_s3", **GOAT, s3={**PLACE, "key": "", "region": None}).error == (
        400,
        "S3 key can't be blank,S3 region can't be blank",
    )
    text = "S3 key must include one of the following valid file extensions - '.csv', '.json'"
    assert farm("import_from_s3", **GOAT, s3={**PLACE, "key": "x.txt"}).error == (400, text)


def test_results_are_exported(farm: Api, bucket: Any) -> None:
    started = farm.ok("export_to_s3", format="json", s3={**PLACE, "key": "out"}, search_operation=SEARCH)
    job = ended(farm, started)
    assert job["result"] == {"message": "Successfully exported JSON to S3.", "bucket": "goats", "key": "out.json"}
    stored = json.loads(bucket.get_object(Bucket="goats", Key="out.json")["Body"].read())
    assert [row["id"] for row in stored] == [1, 2, 3]
    assert "secret" not in json.dumps(job)


@pytest.mark.parametrize(
    ("place", "text"),
    [(None, "S3 object is missing."), ({**PLACE}, "key is missing."), ({"key": "x"}, "aws_access_key_id is missing.")],
)
def test_mistakes_of_an_export_show_in_the_job(farm: Api, place: Any, text: str) -> None:
    members = {} if place is None else {"s3": place}
    assert outcome(farm, "export_to_s3", format="csv", search_operation=SEARCH, **members) == ("ERROR", text)

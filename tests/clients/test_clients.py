"""Clients that others wrote for HarperDB, unchanged, against a real node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from nodes import ADMIN, PASSWORD, RealNode, eventually

HERE = Path(__file__).parent
GOATS = [{"id": 1, "name": "Ivy", "age": 3}, {"id": 2, "name": "Bo", "age": 5}]


def url(node: RealNode) -> str:
    return f"http://127.0.0.1:{node.port}"


def test_harperdb_of_pypi(real_node: RealNode, tmp_path: Path) -> None:
    harperdb = pytest.importorskip("harperdb", reason="the client harperdb is not installed: it is not tested")
    database = harperdb.HarperDB(url(real_node), username=ADMIN, password=PASSWORD)
    assert database.create_schema("farm") == {"message": "schema 'farm' successfully created"}
    with pytest.raises(harperdb.HarperDBError, match="schema 'farm' already exists"):
        database.create_schema("farm")
    database.create_table("farm", "goat", "id")
    assert database.insert("farm", "goat", GOATS)["inserted_hashes"] == [1, 2]
    assert database.update("farm", "goat", [{"id": 1, "age": 4}])["update_hashes"] == [1]
    found = database.search_by_hash("farm", "goat", [1], get_attributes=["name", "age"])
    assert found == [{"name": "Ivy", "age": 4}]
    assert [row["id"] for row in database.search_by_value("farm", "goat", "name", "B*")] == [2]
    assert database.sql("SELECT COUNT(*) AS n FROM farm.goat") == [{"n": 2}]
    (tmp_path / "more.csv").write_text("id,name\n7,Zoe\n8,Max\n")
    for started in (
        database.csv_data_load("farm", "goat", str(tmp_path / "more.csv")),
        database.csv_file_load("farm", "goat", str(tmp_path / "more.csv"), action="upsert"),
        database.delete_files_before("farm", "goat", "2010-01-01"),
    ):
        job = started["message"].removeprefix("Starting job with id ")
        assert eventually(lambda job=job: database.get_job(job)[0]["status"] == "COMPLETE")
    assert database.delete("farm", "goat", [7, 8])["deleted_hashes"] == [7, 8]
    role = database.add_role("herder", {"super_user": False, "farm": {"tables": {}}})
    database.add_user(role="herder", username="kim", password="pw", active=True)
    assert {user["username"] for user in database.list_users()} >= {ADMIN, "kim"}
    database.alter_user(role="herder", username="kim", password="new", active=True)
    kim = harperdb.HarperDB(url(real_node), username="kim", password="new")
    with pytest.raises(harperdb.HarperDBError, match="not authorized"):
        kim.drop_schema("farm")
    database.drop_user("kim")
    database.drop_role(role["id"])
    assert database.registration_info()["registered"] is True
    assert database.describe_all()["farm"]["goat"]["record_count"] == 2


def test_the_wrapper_of_harperdb(real_node: RealNode) -> None:
    harperdb = pytest.importorskip("harperdb", reason="the client harperdb is not installed: it is not tested")
    database = harperdb.HarperDBWrapper(url(real_node), username=ADMIN, password=PASSWORD)
    farm = database.create_schema("farm")
    goats = farm.create_table("goat", "id")
    goats.upsert([{"id": "1", "name": "Ivy"}, {"id": "2", "name": "Bo"}])
    goats.upsert({"id": "1", "name": "Livia"})
    assert len(goats) == 2 and goats["1"]["name"] == "Livia"
    assert [record["id"] for record in goats.search_by_value("name", "B*")] == ["2"]
    del goats["2"]
    with pytest.raises(harperdb.HarperDBError):
        del goats["2"]
    assert [schema.name for schema in database] == ["farm"] and [table.name for table in farm] == ["goat"]
    database.drop_schema("farm")


def test_harperdbcloud_of_pypi(real_node: RealNode, tmp_path: Path) -> None:
    harperdb_cloud = pytest.importorskip(
        "harperdb_cloud", reason="harperdbcloud-python-sdk is not installed: it is not tested"
    )
    client = harperdb_cloud.HarperDbCloud(ADMIN, PASSWORD, url(real_node))
    assert client.create_dev_schema("farm") == {"message": "schema 'farm' successfully created"}
    assert client.create_table("farm", "goat") == {"message": "table 'farm.goat' successfully created."}
    assert client.insert_record("farm", "goat", GOATS)["inserted_hashes"] == [1, 2]
    assert client.update_record("farm", "goat", [{"id": 1, "age": 4}])["update_hashes"] == [1]
    (tmp_path / "more.csv").write_text("id,name\n7,Zoe\n")
    started = client.insert_via_csv("farm", "goat", str(tmp_path / "more.csv"))
    assert started["message"].startswith("Starting job with id ")
    assert eventually(lambda: client.run_sql_command("SELECT COUNT(*) AS n FROM farm.goat") == [{"n": 3}])
    assert client.run_sql_command("SELECT no FROM farm.goat") is None
    assert client.errors == [{"code": 400, "response": '{"error":"unknown column no"}'}]


@pytest.mark.skipif(
    shutil.which("node") is None or not (HERE / "node_modules" / "harperive").is_dir(),
    reason="harperive is not tested: it needs Node.js, and npm ci --prefix tests/clients",
)
def test_harperive_of_npm(real_node: RealNode) -> None:
    command = ["node", str(HERE / "harperive.js"), url(real_node), ADMIN, PASSWORD]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    steps: dict[str, Any] = {step["name"]: step for step in map(json.loads, done.stdout.splitlines())}
    assert steps["createSchema"]["data"] == {"message": "schema 'farm' successfully created"}
    assert steps["createSchema again"]["statusCode"] == 400
    assert steps["insert"]["data"]["inserted_hashes"] == [1, 2]
    assert steps["update"]["data"]["update_hashes"] == [1]
    assert steps["upsert"]["data"]["upserted_hashes"] == [3]
    assert steps["searchByHash"]["data"] == [{"name": "Ivy", "age": 4}]
    assert steps["searchByValue"]["data"] == [{"id": 1}, {"id": 3}]
    assert steps["query"]["data"] == [{"n": 3}]
    assert steps["delete"]["data"]["skipped_hashes"] == [9]
    assert steps["describeTable"]["data"]["hash_attribute"] == "id"
    assert steps["userInfo"]["data"]["username"] == ADMIN
    assert steps["csvDataLoad"]["data"]["message"].startswith("Starting job with id ")
    assert "farm" in steps["bearer"]["data"]
    assert steps["dropTable"]["data"] == {"message": "successfully deleted table 'farm.goat'"}

"""What clears away old records and old entries of the log."""

from __future__ import annotations

import time
from pathlib import Path

from conftest import Api
from test_jobs import GOAT, ended, outcome

import engine


def entries(api: Api, operation: str = "read_transaction_log") -> list[str]:
    return [entry["operation"] for entry in api.ok(operation, **GOAT)]


def test_records_made_before_a_date_go(farm: Api, node: engine.Node) -> None:
    node.table("farm", "goat").insert([{"id": number} for number in range(10, 2510)])
    assert outcome(farm, "delete_records_before", **GOAT, date="2015-01-01") == (
        "COMPLETE",
        "No records found to delete",
    )
    border = time.time()
    while time.time() * 1000 <= border * 1000 + 1:
        pass
    node.table("farm", "goat").insert([{"id": 5000}])
    moment = node.table("farm", "goat").get(5000)
    assert moment is not None
    date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment["__createdtime__"] / 1000))
    date += f".{int(moment['__createdtime__'] % 1000):03d}Z"
    status, message = outcome(farm, "delete_files_before", **GOAT, date=date)
    assert (status, message) == ("COMPLETE", "2503 of 2503 records successfully deleted")
    assert farm.ok("search_by_value", **GOAT, attribute="id", value="*", get_attributes=["id"]) == [{"id": 5000}]


def test_such_a_deletion_stays_on_the_node(farm: Api, node: engine.Node) -> None:
    outcome(farm, "delete_records_before", **GOAT, date="2100-01-01")
    last = node.table("farm", "goat").transactions()[-1]
    assert last.operation == "delete" and len(last.changes) == 3 and last.origin_seq == 0


def test_entries_of_the_log_before_a_time_are_gone_for_good(farm: Api, node: engine.Node, tmp_path: Path) -> None:
    farm.ok("update", **GOAT, records=[{"id": 1, "age": 4}])
    farm.ok("delete", **GOAT, hash_values=[2])
    log = farm.ok("read_transaction_log", **GOAT)
    assert [entry["operation"] for entry in log] == ["insert", "update", "delete"]
    job = ended(farm, farm.ok("delete_transaction_logs_before", **GOAT, timestamp=log[1]["timestamp"]))
    assert job["result"] == {
        "start_timestamp": log[0]["timestamp"],
        "end_timestamp": log[0]["timestamp"],
        "transactions_deleted": 1,
    }
    assert entries(farm) == ["update", "delete"]
    with engine.open_node(tmp_path / "node") as again:
        assert [item.operation for item in again.table("farm", "goat").transactions()] == ["update", "delete"]
    job = ended(farm, farm.ok("delete_audit_logs_before", **GOAT, timestamp=1000))
    assert job["result"]["transactions_deleted"] == 0 and entries(farm) == ["update", "delete"]
    ended(farm, farm.ok("delete_audit_logs_before", **GOAT, timestamp=log[2]["timestamp"] + 1))
    assert entries(farm) == []
    farm.ok("create_attribute", **GOAT, attribute="horns")
    farm.ok("insert", **GOAT, records=[{"id": 9}])
    assert entries(farm) == ["insert"]


def test_what_they_refuse(farm: Api) -> None:
    assert farm("delete_records_before", **GOAT).error == (400, "'date' is required")
    assert farm("delete_audit_logs_before", **GOAT, timestamp="x").error == (400, "'timestamp' is invalid")
    status, message = outcome(farm, "delete_records_before", schema="farm", table="no", date="2015-01-01")
    assert (status, message) == ("ERROR", "Table 'farm.no' does not exist")
    status, message = outcome(farm, "delete_records_before", schema="system", table="hdb_user", date="2100-01-01")
    assert status == "ERROR" and "cannot be updated or removed" in message

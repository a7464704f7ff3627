"""Jobs: CSV loads and exports, their outcomes, and what becomes of those that were interrupted."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import Api, attribute, on_goats
from hypothesis import given
from hypothesis import strategies as st

import engine
import frontend.work
from engine import configuration
from frontend import jobs
from frontend.app import create_app
from frontend.csv_rows import value_of
from frontend.jobs import Jobs, Order
from frontend.work import INTERRUPTED, Job, Work

GOAT = {"schema": "farm", "table": "goat"}
DEADLINE = 20.0

Member = Callable[[dict[str, Any]], Api]


def ended(api: Api, started: dict[str, Any]) -> dict[str, Any]:
    """The job when it has ended."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        (job,) = api.ok("get_job", id=started["job_id"])
        if job["status"] in ("COMPLETE", "ERROR"):
            return dict(job)
        time.sleep(0.01)
    raise AssertionError("the job does not end")


def outcome(api: Api, operation: str, **members: Any) -> tuple[str, Any]:
    job = ended(api, api.ok(operation, **members))
    return job["status"], job["message"]


# ---------------------------------------------------------------------------------------------------------------- CSV


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("5", 5),
        ("-1.50", -1.5),
        ("0", 0),
        ("1e3", "1e3"),
        ("007", "007"),
        ("", ""),
        ("true", True),
        ("FALSE", False),
        ("NULL", None),
        ("undefined", None),
        (" space ", " space "),
        ("2020-01-02", "2020-01-02"),
        ("2013-01-02T20:00:00Z", "2013-01-02T20:00:00.000Z"),
        ("2013-02-30T20:00:00Z", "2013-02-30T20:00:00Z"),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", "18446744073709551616"),
        ('{"a":1}', '{"a":1}'),
    ],
)
def test_cells_become_values(cell: str, value: Any) -> None:
    found = value_of(cell)
    assert found == value and type(found) is type(value)


@given(st.text())
def test_any_cell_has_a_value(cell: str) -> None:
    assert isinstance(value_of(cell), str | int | float | bool | None)


def test_loads_tell_how_many_records_they_wrote(farm: Api) -> None:
    assert outcome(farm, "csv_data_load", **GOAT, data="id,name\n1,Again\n4,Four\n") == (
        "COMPLETE",
        "successfully loaded 1 of 2 records",
    )
    assert outcome(farm, "csv_data_load", **GOAT, data="id,name\n1,New\n99,No", action="update") == (
        "COMPLETE",
        "successfully loaded 1 of 2 records",
    )
    assert outcome(farm, "csv_data_load", **GOAT, data="id,name\r\n1,Ivy\r\n\r\n5,Five", action="upsert") == (
        "COMPLETE",
        "successfully loaded 2 of 2 records",
    )
    nothing = ("COMPLETE", "No records parsed from csv file.")
    assert outcome(farm, "csv_data_load", **GOAT, data="") == nothing
    assert outcome(farm, "csv_data_load", **GOAT, data="id,name\n") == nothing
    assert outcome(farm, "csv_data_load", **GOAT, data="id,sl/ash\n1,2") == (
        "ERROR",
        "Invalid column name 'sl/ash', cancelling load operation",
    )
    assert farm.ok("search_by_id", **GOAT, ids=[4, 5], get_attributes=["name"]) == [{"name": "Four"}, {"name": "Five"}]


def test_declared_texts_stay_texts(farm: Api) -> None:
    attributes = [{"name": "id", "type": "ID"}, {"name": "zip", "type": "String"}, {"name": "n", "type": "Int"}]
    farm.ok("create_table", schema="farm", table="typed", hash_attribute="id", attributes=attributes)
    assert outcome(farm, "csv_data_load", schema="farm", table="typed", data="id,zip,n\n1,80202,7\n")[0] == "COMPLETE"
    assert farm.ok("search_by_id", schema="farm", table="typed", ids=["1"], get_attributes=["zip", "n"]) == [
        {"zip": "80202", "n": 7}
    ]


@pytest.mark.parametrize(
    ("operation", "members", "text"),
    [
        ("csv_data_load", GOAT, "Data  is required"),
        ("csv_data_load", {"schema": "farm", "data": "id"}, "Table can't be blank"),
        (
            "csv_data_load",
            {**GOAT, "data": "id", "action": "merge"},
            "Action is required and must be either insert, update, or upsert",
        ),
        ("csv_data_load", {"schema": "farm", "table": "no", "data": "id"}, "Table 'farm.no' does not exist"),
        ("csv_file_load", GOAT, "File path  is required"),
        ("csv_file_load", {**GOAT, "file_path": "/no/such/file.csv"}, "No such file or directory /no/such/file.csv"),
    ],
)
def test_what_loads_refuse_at_once(farm: Api, operation: str, members: dict[str, Any], text: str) -> None:
    assert farm(operation, **members).error == (400, text)


def test_loads_need_the_rights_of_their_action_and_on_their_columns(member: Member) -> None:
    kim = member(on_goats("insert"))
    refused = kim("csv_data_load", **GOAT, data="id\n7")
    assert refused.status == 403
    assert refused.body["unauthorized_access"][0]["required_table_permissions"] == ["update"]
    assert outcome(kim, "csv_data_load", **GOAT, data="id\n7", action="insert")[0] == "COMPLETE"
    picky = member(on_goats("insert", attributes=[attribute("name", "insert")]))
    status, message = outcome(picky, "csv_data_load", **GOAT, data="id,coat\n8,x", action="insert")
    assert status == "ERROR"
    assert message["invalid_schema_items"] == ["Attribute 'coat' does not exist on 'farm.goat'"]


# -------------------------------------------------------------------------------------------------------------- files


def test_files_are_loaded_and_exported(farm: Api, tmp_path: Path) -> None:
    search = {"operation": "sql", "sql": "SELECT id, name FROM farm.goat ORDER BY id"}
    started = farm.ok("export_local", path=f"{tmp_path}/", filename="goats", format="csv", search_operation=search)
    job = ended(farm, started)
    assert job["result"] == {"message": "Successfully exported CSV locally.", "path": str(tmp_path / "goats.csv")}
    assert job["message"] == f"Successfully completed job: {job['id']}"
    farm.ok("create_table", schema="farm", table="copy", hash_attribute="id")
    assert outcome(farm, "csv_file_load", schema="farm", table="copy", file_path=str(tmp_path / "goats.csv")) == (
        "COMPLETE",
        "successfully loaded 3 of 3 records",
    )
    ended(farm, farm.ok("export_local", path=str(tmp_path), filename="goats", format="json", search_operation=search))
    assert json.loads((tmp_path / "goats.json").read_text()) == farm.ok("sql", sql=search["sql"])
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] != []
    assert not list(tmp_path.glob(".*"))


def test_an_export_over_a_directory_is_refused_and_leaves_nothing_behind(farm: Api, tmp_path: Path) -> None:
    (tmp_path / "goats.json").mkdir()
    search = {"operation": "sql", "sql": "SELECT id FROM farm.goat"}
    members = {"path": str(tmp_path), "filename": "goats", "format": "json", "search_operation": search}
    assert outcome(farm, "export_local", **members) == ("ERROR", "filename 'goats.json' is invalid")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({}, "format missing"),
        ({"format": "xml"}, "format invalid. must be one of the following values: json, csv"),
        ({"format": "csv"}, "path is missing."),
        ({"format": "csv", "path": "/tmp"}, "search_operation.operation missing"),
        (
            {"format": "csv", "path": "/tmp", "search_operation": {"operation": "insert"}},
            "searchOperation.operation must be one of the following values: "
            "search_by_value, search_by_hash, sql, search_by_conditions",
        ),
        (
            {"format": "csv", "path": "/no/such", "search_operation": {"operation": "sql", "sql": "SELECT 1 AS a"}},
            "path '/no/such' does not exist",
        ),
        (
            {
                "format": "csv",
                "path": "/tmp",
                "filename": "../x",
                "search_operation": {"operation": "sql", "sql": "SELECT 1 AS a"},
            },
            "filename '../x.csv' is invalid",
        ),
    ],
)
def test_mistakes_of_exports_show_in_the_job(farm: Api, members: dict[str, Any], text: str) -> None:
    assert outcome(farm, "export_local", **members) == ("ERROR", text)


def test_the_files_of_the_node_and_of_the_kernel_are_out_of_reach(node: engine.Node, farm: Api, tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(node.root / "node.id")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "way").symlink_to(node.root)
    inside = ("/proc/self/environ", "/dev/null", str(node.root / "node.id"), f"{tmp_path}/way/../node/node.id")
    for path in (*inside, str(tmp_path / "link.csv"), str(tmp_path / "pipe.csv"), str(tmp_path)):
        assert farm("csv_file_load", **GOAT, file_path=path).error == (400, f"Permission denied {path}")
    search = {"operation": "sql", "sql": "SELECT 1 AS a"}
    for path in (str(node.root), str(tmp_path / "way"), "/proc"):
        assert outcome(farm, "export_local", path=path, format="json", search_operation=search) == (
            "ERROR",
            f"access to path '{path}' is denied",
        )


# --------------------------------------------------------------------------------------------------------------- jobs


def test_jobs_are_found_by_id_and_by_date(farm: Api) -> None:
    job = ended(farm, farm.ok("csv_data_load", **GOAT, data="id\n7"))
    assert (job["type"], job["user"]) == ("csv_data_load", "admin")
    assert job["created_datetime"] <= job["start_datetime"] <= job["end_datetime"]
    assert "process" not in job and "data" not in job
    (found,) = farm.ok("search_jobs_by_start_date", from_date="2020-01-01", to_date="2100-01-01")
    assert found["id"] == job["id"] and found["start_datetime_converted"].endswith("Z")
    assert farm.ok("search_jobs_by_start_date", from_date="2001-01-01", to_date="2001-01-02") == []
    assert farm.ok("get_job", id="no such job") == [] and farm.ok("get_job", id=5) == []
    assert farm("get_job").error == (400, "'id' is required")
    assert farm("get_job", id="").error == (400, "Invalid job ID specified.")


def test_before_the_first_job_there_are_none(api: Api) -> None:
    assert api.ok("search_jobs_by_start_date", from_date="2020-01-01", to_date="2100-01-01") == []


def test_jobs_that_a_node_process_left_unfinished_are_ended_by_the_next(node: engine.Node, api: Api) -> None:
    rows = [{"id": status, "type": "csv_data_load", "status": status, "created_datetime": 1} for status in STATUSES]
    node.system(jobs.JOBS).insert(rows)
    left = jobs.spool_directory(node.root) / "left"
    left.write_text("id")
    Work(node).close()
    found = {status: api.ok("get_job", id=status)[0] for status in STATUSES}
    assert [found[status]["status"] for status in STATUSES] == ["ERROR", "ERROR", "COMPLETE", "ERROR"]
    assert found["CREATED"]["message"] == INTERRUPTED and found["IN_PROGRESS"]["end_datetime"] > 1
    assert "message" not in found["ERROR"] and not left.exists()


STATUSES = (jobs.CREATED, jobs.IN_PROGRESS, jobs.COMPLETE, jobs.ERROR)


def test_a_job_ends_with_its_node_process(node: engine.Node) -> None:
    begun = threading.Event()

    def endless(order: Order, job: Job) -> str:
        begun.set()
        while True:
            job.progress("so far")
            time.sleep(0.005)

    work = doing(node, endless)
    job = work.take(ORDER)
    assert begun.wait(DEADLINE)
    work.close()
    found = Jobs(node).find(job)
    assert found is not None and (found["status"], found["message"]) == ("ERROR", INTERRUPTED)


def test_a_fault_within_a_job_is_told_without_detail(node: engine.Node) -> None:
    def broken(order: Order, job: Job) -> str:
        raise ZeroDivisionError("secret detail")

    work = doing(node, broken)
    job = work.take(ORDER)
    assert work.wait(DEADLINE)
    found = Jobs(node).find(job)
    assert found is not None and found["status"] == "ERROR"
    assert found["message"] == "There was an error processing your request. Check logs and try again."


def test_too_many_jobs_are_refused(node: engine.Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontend.work, "WAITING", 2)
    go_on = threading.Event()
    work = doing(node, lambda order, job: str(go_on.wait(DEADLINE)))
    for _ in range(2):
        work.take(ORDER)
    with pytest.raises(engine.Busy):
        work.take(ORDER)
    go_on.set()
    assert work.wait(DEADLINE)


def test_without_a_node_process_there_are_no_jobs(node: engine.Node) -> None:
    api = Api(create_app(node))
    api.ok("create_table", schema="farm", table="goat", primary_key="id")
    assert api("csv_data_load", **GOAT, data="id").status == 503
    assert list(jobs.spool_directory(node.root).iterdir()) == []


def test_a_text_that_cannot_be_spooled_leaves_nothing_behind(node: engine.Node) -> None:
    taking, limits = Jobs(node), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(engine.KennelError):
            taking.spool("x" * 200_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(jobs.spool_directory(node.root).iterdir()) == []


ORDER = Order("test", "admin", "schema", {})


def doing(node: engine.Node, work: Callable[[Order, Job], Any]) -> Work:
    """What takes jobs for a node, and does `work` for each of them."""
    taking = Work(node)
    taking.__dict__["_operations"] = SimpleNamespace(work=work)
    return taking


def test_a_large_file_is_loaded_in_chunks(farm: Api, tmp_path: Path) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([["id", "n"], *([number, number % 7] for number in range(100, 2600))])
    (tmp_path / "many.csv").write_text("\ufeff" + out.getvalue())
    assert outcome(farm, "csv_file_load", **GOAT, file_path=str(tmp_path / "many.csv")) == (
        "COMPLETE",
        "successfully loaded 2500 of 2500 records",
    )
    assert farm.ok("sql", sql="SELECT COUNT(*) AS n FROM farm.goat WHERE n = 3") == [{"n": 357}]


def test_jobs_that_ended_long_ago_are_forgotten(tmp_path: Path) -> None:
    root = tmp_path / "node"
    with engine.open_node(root) as node:
        hour, rows = 3_600_000, node.system("hdb_job")
        for identity, ended_at in (("old", jobs.now() - 2 * hour), ("new", jobs.now() - hour // 2), ("waiting", None)):
            row = {"id": identity, "status": "COMPLETE", "created_datetime": 1, "end_datetime": ended_at}
            rows.insert([{name: value for name, value in row.items() if value is not None}])
    configuration.change(root, {"bulk_jobRetention": "1h"})
    with engine.open_node(root) as node:
        Work(node).close()
        assert [node.system("hdb_job").get(identity) is None for identity in ("old", "new", "waiting")] == [
            True,
            False,
            False,
        ]

"""Jobs and custom functions over the processes of a real node."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from nodes import RealNode, basic, eventually

from frontend.work import INTERRUPTED

TABLE = {"schema": "dev", "table": "dog"}


def job(node: RealNode, started: tuple[int, Any]) -> dict[str, Any]:
    status, body = started
    assert status == 200, body
    return dict(node.post("get_job", id=body["job_id"])[1][0])


def test_a_job_outlives_neither_its_process_nor_its_claim_to_be_at_work(real_node: RealNode, tmp_path: Path) -> None:
    assert real_node.post("create_table", **TABLE, hash_attribute="id")[0] == 200
    fifty_thousand = tmp_path / "dogs.csv"
    fifty_thousand.write_text("id,name\n" + "".join(f"{number},Penny {number}\n" for number in range(50_000)))
    started = real_node.post("csv_file_load", **TABLE, file_path=str(fifty_thousand))
    assert eventually(lambda: real_node.post("describe_table", **TABLE)[1]["record_count"] > 0)
    os.kill(real_node.node_process().pid, signal.SIGKILL)
    ended = eventually(lambda: job(real_node, started)["status"] in ("ERROR", "COMPLETE") and job(real_node, started))
    assert ended["status"] == "ERROR" and ended["message"] == INTERRUPTED and ended["end_datetime"] > 0
    assert real_node.post("describe_table", **TABLE)[1]["record_count"] % 1000 == 0

    assert eventually(real_node.node_process_answers)
    again = real_node.post("csv_data_load", **TABLE, action="upsert", data="id,name\nlast,Penny\n")
    assert eventually(lambda: job(real_node, again)["status"] == "COMPLETE")
    assert job(real_node, again)["message"] == "successfully loaded 1 of 1 records"
    assert not list((real_node.root / "jobs").iterdir())


def test_a_reload_of_functions_reaches_every_worker(real_node: RealNode) -> None:
    def answers() -> set[Any]:
        found = set()
        for _ in range(20):
            status, body = real_node.request(
                "GET", "/dogs/version", headers={"Authorization": basic()}, port=real_node.functions_port
            )
            found.add((status, json.loads(body).get("version")))
        return found

    assert real_node.post("add_custom_function_project", project="dogs")[0] == 200
    for version in (1, 2):
        content = (
            "from flask import Blueprint\n"
            "def routes(kennel):\n"
            "    blueprint = Blueprint('version', __name__)\n"
            "    @blueprint.get('/version')\n"
            "    @kennel.authenticated\n"
            f"    def show(): return {{'version': {version}}}\n"
            "    return blueprint\n"
        )
        file = {"project": "dogs", "type": "routes", "file": "version"}
        assert real_node.post("set_custom_function", **file, function_content=content)[0] == 200
        assert real_node.post("restart_service", service="custom_functions")[0] == 200
        assert answers() == {(200, version)}

"""The configuration tree: where values come from, what is accepted, and what happens to the file."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest
import yaml

from engine import configuration, settings
from engine.configuration import FILE_NAME, PREFIX, Configuration
from engine.errors import InvalidRequest

PORT = "operationsApi.network.port"


def refusal(root: Path, **values: object) -> str:
    with pytest.raises(InvalidRequest) as caught:
        Configuration.load(root).replace(values)
    text = str(caught.value)
    assert text.startswith(PREFIX)
    return text.removeprefix(PREFIX)


def write(root: Path, text: str) -> None:
    (root / FILE_NAME).write_text(text)


def test_an_empty_root_has_the_defaults_of_the_contract(tmp_path: Path) -> None:
    loaded = Configuration.load(tmp_path)
    assert loaded.get(PORT) == 9925
    assert loaded.get("customFunctions.network.port") == 9926
    assert loaded.get("clustering.hubServer.cluster.network.port") == 9932
    assert loaded.get("clustering.enabled") is False
    assert loaded.get("clustering.hubServer.cluster.name") == "kennel"
    assert loaded.get("operationsApi.network.domainSocket") == str(tmp_path / "operations-server")
    assert loaded.get("storage.durability") == "commit"
    assert loaded.get("authentication.refreshTokenTimeout") == "30d"
    assert loaded.tree()["rootPath"] == str(tmp_path)


def test_command_line_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    write(tmp_path, "operationsApi:\n  network:\n    port: 1\nlogging:\n  level: info\nhttp:\n  threads: 2\n")
    environment = {"OPERATIONSAPI_NETWORK_PORT": "2", "logging_LEVEL": "debug", "PATH": "/bin"}
    loaded = Configuration.load(tmp_path, environment, {"operationsapi_network_PORT": "3"})
    assert loaded.get(PORT) == 3
    assert loaded.get("logging.level") == "debug"
    assert loaded.get("http.threads") == 2
    assert loaded.get("clustering.republishMessages") is True


@pytest.mark.parametrize(
    ("parameter", "text", "value"),
    [
        ("OPERATIONSAPI_NETWORK_PORT", "9000", 9000),
        ("operationsApi.network.port", "9000", 9000),
        ("CLUSTERING_ENABLED", "TRUE", True),
        ("CLUSTERING_NODENAME", "1", "1"),
        ("CLUSTERING_NODENAME", "null", None),
        ("LOGGING_ROTATION_MAXSIZE", "10M", "10M"),
        (
            "OPERATIONSAPI_NETWORK_CORSACCESSLIST",
            "http://a.example, http://b.example",
            ["http://a.example", "http://b.example"],
        ),
        ("OPERATIONSAPI_NETWORK_CORSACCESSLIST", '["http://a.example", null]', ["http://a.example", None]),
        (
            "CLUSTERING_HUBSERVER_CLUSTER_NETWORK_ROUTES",
            '[{"host":"198.51.100.7","port":9932}]',
            [{"host": "198.51.100.7", "port": 9932}],
        ),
        ("AUTHENTICATION_OPERATIONTOKENTIMEOUT", "12h", "12h"),
        ("OPERATIONSAPI_AUTHENTICATION_OPERATIONTOKENTIMEOUT", "45s", "45s"),
        ("BULK_FILEROOTS", '["/data"]', ["/data"]),
    ],
)
def test_texts_are_cast_as_the_setting_wants_them(tmp_path: Path, parameter: str, text: str, value: object) -> None:
    loaded = Configuration.load(tmp_path, arguments={parameter: text})
    name = configuration.setting_named(parameter)
    assert name is not None
    assert loaded.get(name) == value
    assert type(loaded.get(name)) is type(value)


def test_refusals_carry_the_published_texts(tmp_path: Path) -> None:
    assert refusal(tmp_path, logging_level="loud") == (
        "'logging.level' must be one of [notify, fatal, error, warn, info, debug, trace]"
    )
    assert refusal(tmp_path, logging_rotation_enabled="yes") == "'logging.rotation.enabled' must be a boolean"
    assert refusal(tmp_path, operationsApi_network_timeout=0) == (
        "'operationsApi.network.timeout' must be greater than or equal to 1"
    )
    assert refusal(tmp_path, operationsApi_network_port=70000) == (
        "'operationsApi.network.port' must be less than or equal to 65535"
    )
    assert refusal(tmp_path, operationsApi_network_port="high") == "'operationsApi.network.port' must be a number"
    assert refusal(tmp_path, operationsApi_network_port=True) == "'operationsApi.network.port' must be a number"
    assert refusal(tmp_path, logging_rotation_maxSize="10X") == (
        "Invalid logging.rotation.maxSize unit. Available units are G, M or K"
    )
    assert refusal(tmp_path, logging_rotation_maxSize="tenM") == (
        "Invalid logging.rotation.maxSize value. Value should be a number followed by unit e.g. '10M'"
    )
    assert refusal(tmp_path, logging_rotation_interval="10X") == (
        "Invalid logging.rotation.interval unit. Available units are D, H or M (minutes)"
    )
    assert refusal(tmp_path, logging_rotation_interval="oneD") == (
        "Invalid logging.rotation.interval value. Value should be a number followed by unit e.g. '10D'"
    )
    assert refusal(tmp_path, tls_certificate="/nowhere.pem") == "Specified path /nowhere.pem does not exist."
    assert refusal(tmp_path, clustering_nodeName="a.b") == "'clustering.nodeName' invalid, must not contain ., * or >"
    routes = "clustering_hubServer_cluster_network_routes"
    assert refusal(tmp_path, **{routes: "here"}) == "'clustering.hubServer.cluster.network.routes' must be an array"
    assert refusal(tmp_path, **{routes: [{"port": 1}]}) == (
        "'clustering.hubServer.cluster.network.routes[0].host' is required"
    )


def test_several_refusals_come_in_one_text(tmp_path: Path) -> None:
    assert refusal(tmp_path, logging_auditLog=1, clustering_enabled="no") == (
        "'logging.auditLog' must be a boolean. 'clustering.enabled' must be a boolean"
    )


def test_a_port_and_its_secure_port_must_differ(tmp_path: Path) -> None:
    assert refusal(tmp_path, operationsApi_network_securePort=9925) == (
        "operationsApi.network.port and operationsApi.network.securePort cannot be the same value"
    )
    assert refusal(tmp_path, http_securePort=9926) == "http.port and http.securePort cannot be the same value"


def test_unknown_parameters_are_dropped_and_can_be_told(tmp_path: Path) -> None:
    changed = Configuration.load(tmp_path).replace({"no_such_thing": 1, "logging_level": "info"})
    assert changed.get("logging.level") == "info"
    given = {"NO_SUCH_THING": "1", "ROOTPATH": "/x", "TC_AGREEMENT": "yes", "LOGGING_LEVEL": "info"}
    assert configuration.unknown_parameters(given) == ["NO_SUCH_THING"]


def test_secrets_of_the_first_start_are_told_apart_and_never_stored(tmp_path: Path) -> None:
    given = {
        "HDB_ADMIN_USERNAME": "root",
        "kennel_admin_password": "hidden-one",
        "CLUSTERING_PASSWORD": "hidden-two",
        "CLUSTERING_USER": "cluster_user",
        "TC_AGREEMENT": "yes",
    }
    assert configuration.installation(given) == {
        "admin_username": "root",
        "admin_password": "hidden-one",
        "cluster_password": "hidden-two",
        "tc_agreement": "yes",
    }
    Configuration.load(tmp_path, arguments=given).save()
    text = (tmp_path / FILE_NAME).read_text()
    assert "hidden" not in text
    assert "user: cluster_user" in text


def test_the_file_is_written_in_full_and_private(tmp_path: Path) -> None:
    Configuration.load(tmp_path, arguments={"OPERATIONSAPI_NETWORK_PORT": "9000"}).save()
    path = tmp_path / FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = yaml.safe_load(path.read_text())
    for name in settings.SETTINGS:
        place = written
        for member in name.split("."):
            place = place[member]
    assert written["operationsApi"]["network"]["port"] == 9000
    assert [entry.name for entry in tmp_path.iterdir()] == [FILE_NAME]


def test_another_file_may_stand_in_for_the_first_one(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("logging:\n  level: info\nhttp:\n  threads: 2\n")
    loaded = Configuration.load(tmp_path / "root", {"LOGGING_LEVEL": "debug"}, file=tmp_path / "mine.yaml")
    assert (loaded.get("logging.level"), loaded.get("http.threads")) == ("debug", 2)
    with pytest.raises(InvalidRequest, match="does not exist"):
        Configuration.load(tmp_path, file=tmp_path / "theirs.yaml")


def test_saving_keeps_comments_and_members_of_others(tmp_path: Path) -> None:
    write(tmp_path, "# mine\nlogging:\n  # why it is so loud\n  level: info   # for now\nextra:\n  member: 7\n")
    configuration.change(tmp_path, {"logging_auditLog": True})
    text = (tmp_path / FILE_NAME).read_text()
    assert text.startswith("# mine\n")
    assert "# why it is so loud\n  level: info   # for now\n" in text
    assert "extra:\n  member: 7\n" in text
    assert Configuration.load(tmp_path).get("logging.auditLog") is True


def test_a_change_without_a_difference_does_not_touch_the_file(tmp_path: Path) -> None:
    Configuration.load(tmp_path).save()
    before = (tmp_path / FILE_NAME).stat()
    configuration.change(tmp_path, {"logging_level": "warn"})
    after = (tmp_path / FILE_NAME).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_the_former_file_is_kept_in_backup(tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    Configuration.load(tmp_path).save()
    former = (tmp_path / FILE_NAME).read_text()
    configuration.change(tmp_path, {"logging_level": "info"})
    (kept,) = (tmp_path / "backup").iterdir()
    assert kept.read_text() == former


def test_a_change_may_be_computed_from_what_is_there(tmp_path: Path) -> None:
    after = configuration.change(tmp_path, lambda before: {"http_threads": before.get("http.threads") + 1})
    assert after.get("http.threads") == 9


def test_all_or_nothing(tmp_path: Path) -> None:
    Configuration.load(tmp_path).save()
    with pytest.raises(InvalidRequest):
        configuration.change(tmp_path, {"logging_level": "info", "http_threads": "none"})
    assert Configuration.load(tmp_path).get("logging.level") == "warn"


def _add_routes(root: Path, first: int) -> None:
    name = "clustering.hubServer.cluster.network.routes"
    for port in range(first, first + 10):
        configuration.change(root, lambda now, port=port: {name: [*now.get(name), {"host": "h", "port": port}]})


def test_changes_of_several_processes_do_not_lose_each_other(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_add_routes, args=(tmp_path, first)) for first in (100, 200, 300)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    routes = Configuration.load(tmp_path).get("clustering.hubServer.cluster.network.routes")
    assert sorted(route["port"] for route in routes) == [*range(100, 110), *range(200, 210), *range(300, 310)]


def test_a_setting_is_found_under_the_name_of_another_release(tmp_path: Path) -> None:
    write(tmp_path, "operationsApi:\n  authentication:\n    operationTokenTimeout: 2d\n")
    configuration.change(tmp_path, {"authentication_operationTokenTimeout": "3d"})
    loaded = Configuration.load(tmp_path)
    assert loaded.get("authentication.operationTokenTimeout") == "3d"
    assert loaded.get("operationsApi.authentication.operationTokenTimeout") == "3d"
    assert loaded.tree()["operationsApi"]["authentication"]["operationTokenTimeout"] == "3d"


def test_paths_follow_a_root_that_is_moved(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    Configuration.load(first).save()
    moved = first.rename(tmp_path / "second")
    loaded = Configuration.load(moved)
    assert loaded.get("tls.privateKey") == str(moved / "keys/privateKey.pem")
    assert loaded.tree()["rootPath"] == str(moved)


def test_a_home_directory_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "functions").mkdir()
    loaded = Configuration.load(tmp_path / "root", arguments={"CUSTOMFUNCTIONS_ROOT": "~/functions"})
    assert loaded.get("customFunctions.root") == str(tmp_path / "functions")


@pytest.mark.parametrize("text", ["a: [", "- a\n- b\n", "logging: 5\n", "logging:\n  level: loud\n"])
def test_a_file_that_makes_no_sense_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    with pytest.raises(InvalidRequest) as caught:
        Configuration.load(tmp_path)
    assert str(caught.value).startswith(PREFIX)
    assert "\n" not in str(caught.value)


def test_spans_and_sizes() -> None:
    assert [settings.seconds(text) for text in ("1d", "12h", "30m", "45s", 60)] == [86400, 43200, 1800, 45, 60]
    assert [settings.octets(text) for text in ("1K", "10M", "2G")] == [1024, 10 << 20, 2 << 30]
    for text in ("", "d", "x", "1w"):
        with pytest.raises(ValueError):
            settings.seconds(text)


def test_every_default_is_acceptable(tmp_path: Path) -> None:
    for name, setting in settings.SETTINGS.items():
        assert setting.accept(setting.default) == setting.default, name

"""Who may do what, with the exact bodies of refusals, and how users, roles and tokens come and go."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from conftest import ADMIN, PASSWORD, Api, Reply, attribute, on_goats

import engine
from frontend.app import create_app
from frontend.authentication import Accounts, Credentials
from frontend.errors import Refused
from frontend.operations import TABLE
from frontend.permissions import Rule
from frontend.throttle import LIMIT, WINDOW, FailedLogins

GOAT = {"schema": "farm", "table": "goat"}
READ = {"hash_values": [1], "get_attributes": ["id", "name"]}
Member = Callable[[dict[str, Any]], Api]


def forbidden(reply: Reply, *, unauthorized: Any = (), invalid: Any = (), word: str = "schema") -> bool:
    return (reply.status, reply.body) == (
        403,
        {
            "error": f"This operation is not authorized due to role restrictions and/or invalid {word} items",
            "unauthorized_access": list(unauthorized),
            "invalid_schema_items": list(invalid),
        },
    )


def lack(*rights: str, attributes: Any = ()) -> dict[str, Any]:
    return {**GOAT, "required_table_permissions": list(rights), "required_attribute_permissions": list(attributes)}


# ------------------------------------------------------------------------------------------------------ authentication


def test_requests_without_or_with_wrong_credentials(farm: Api) -> None:
    assert farm.as_nobody()("describe_all").error == (401, "Must login")
    assert farm.as_nobody()("no_such_operation").error == (401, "Must login")
    assert farm.as_user("", "")("describe_all").error == (401, "Must login")
    assert farm.as_user("nobody", "pw")("describe_all").error == (401, "Login failed")
    assert farm.as_user(ADMIN, "wrong")("describe_all").error == (401, "Login failed")
    assert farm.bearing("not.a.token")("describe_all").error == (401, "invalid token")
    for header, text in (("Digest abc", "Must login"), ("Basic !!!", "Login failed"), ("Bearer", "invalid token")):
        reply = farm.as_nobody().send(b'{"operation":"describe_all"}', {"Authorization": header})
        assert reply.error == (401, text)


def test_requests_over_the_local_socket_are_the_first_super_users(farm: Api) -> None:
    body = b'{"operation":"user_info"}'
    local = farm.as_nobody().send(body, environ={"kennel.local_socket": True})
    assert local.body["username"] == ADMIN
    wrong = farm.as_user(ADMIN, "wrong").send(body, environ={"kennel.local_socket": True})
    assert wrong.error == (401, "Login failed")
    forged = farm.as_nobody().send(body, {"kennel.local_socket": "True"})
    assert forged.error == (401, "Must login")


def test_a_verified_header_is_not_hashed_again_until_the_user_changes(
    node: engine.Node, farm: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    from frontend import authentication

    hashed: list[str] = []
    verify = authentication.matches
    monkeypatch.setattr(authentication, "matches", lambda *pair: hashed.append(pair[0]) or verify(*pair))
    api = Api(create_app(node))
    for _ in range(3):
        api.ok("user_info")
    assert len(hashed) == 1
    api.ok("add_user", username="kim", password="pw", role="super_user", active=True)
    api.ok("user_info")
    assert len(hashed) == 1
    api.ok("alter_user", username=ADMIN, password="new")
    assert api("user_info").error == (401, "Login failed")
    assert api.as_user(ADMIN, "new").ok("user_info")["username"] == ADMIN


def test_another_process_sees_a_change_at_its_next_request(node: engine.Node, farm: Api) -> None:
    farm.ok("add_role", role="reader", permission=on_goats("read"))
    farm.ok("add_user", username="kim", password="pw", role="reader", active=True)
    with engine.open_node(node.root) as other:
        kim = Api(create_app(other)).as_user("kim")
        assert kim("search_by_hash", **GOAT, **READ).status == 200
        farm.ok("alter_role", id="reader", permission=on_goats("delete"))
        assert forbidden(kim("search_by_hash", **GOAT, **READ), unauthorized=[lack("read")])
        farm.ok("alter_user", username="kim", active=False)
        assert kim("user_info").error == (401, "Cannot complete request: User is inactive")
        farm.ok("drop_user", username="kim")
        assert kim("user_info").error == (401, "Login failed")


def test_passwords_may_hold_any_text(farm: Api) -> None:
    for password in (":", "pä: ß", "😀" * 50):
        farm.ok("add_user", username="kim", password=password, role="super_user", active=True)
        assert farm.as_user("kim", password).ok("user_info")["username"] == "kim"
        farm.ok("drop_user", username="kim")


def test_failed_logins_are_throttled_for_the_pair_only() -> None:
    now = 0.0
    failed = FailedLogins(lambda: now)
    for _ in range(LIMIT):
        failed.check("kim", "192.0.2.1")
        failed.add("kim", "192.0.2.1")
    with pytest.raises(Refused) as refused:
        failed.check("kim", "192.0.2.1")
    assert refused.value.status == 429 and int(refused.value.headers["Retry-After"]) > 0
    failed.check("kim", "192.0.2.2")
    failed.check("bo", "192.0.2.1")
    now = WINDOW + 1
    failed.check("kim", "192.0.2.1")


def test_a_correct_password_that_was_used_before_is_never_locked_out(node: engine.Node, farm: Api) -> None:
    accounts = Accounts(node)
    good = Credentials(farm.authorization or "", "192.0.2.1")
    assert accounts.identify(good) is not None
    for _ in range(LIMIT):
        accounts._failed.add(ADMIN, "192.0.2.1")
    assert accounts.identify(good) is not None
    bad = Credentials(farm.as_user(ADMIN, "wrong").authorization or "", "192.0.2.1")
    with pytest.raises(Refused) as refused:
        accounts.identify(bad)
    assert refused.value.status == 429


# --------------------------------------------------------------------------------------------------------- permission


@pytest.mark.parametrize("operation", [row.name for row in TABLE.values() if row.permission.rule is Rule.SUPER_USER])
def test_operations_of_super_users_are_refused_to_all_others(
    operation: str, member: Member, farm: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kim in (member(on_goats("read", "insert", "update", "delete")), member({"structure_user": True}), member({})):
        reply = kim(operation, username="x", id="x", password="y")
        assert reply.status == 403
        assert reply.body["unauthorized_access"][0].endswith("' is restricted to 'super_user' roles")
    assert farm.as_nobody()(operation).error == (401, "Must login")


def test_a_refusal_of_users_without_a_role_says_so(farm: Api) -> None:
    farm.ok("add_user", username="link", password="pw", role="cluster_user", active=True)
    text = "User link has no role or permissions.  Please assign the user a valid role."
    assert farm.as_user("link")("user_info").body["unauthorized_access"] == [text]


def test_what_a_role_may_not_see_does_not_exist(member: Member, farm: Api) -> None:
    kim = member(on_goats("read"))
    for table in ("secret", "nope"):
        reply = kim("search_by_hash", schema="farm", table=table, **READ)
        assert forbidden(reply, invalid=[f"Table 'farm.{table}' does not exist"])
    for schema in ("other", "system"):
        reply = kim("search_by_hash", schema=schema, table="hdb_user", **READ)
        assert forbidden(reply, invalid=[f"schema '{schema}' does not exist"])
    reply = kim("insert", database="nope", table="goat", records=[{"id": 1}])
    assert forbidden(reply, invalid=["database 'nope' does not exist"], word="database")
    farm.ok("drop_table", **GOAT)
    assert forbidden(kim("search_by_hash", **GOAT, **READ), invalid=["Table 'farm.goat' does not exist"])


def test_a_request_without_a_schema_is_judged_by_the_default_schema(member: Member, farm: Api) -> None:
    farm.ok("create_table", table="goat", primary_key="id")
    reply = member(on_goats("read"))("search_by_hash", table="goat", **READ)
    assert forbidden(reply, invalid=["database 'data' does not exist"], word="database")


def test_missing_rights_on_a_table_are_named(member: Member) -> None:
    kim = member(on_goats("insert"))
    assert forbidden(kim("search_by_hash", **GOAT, **READ), unauthorized=[lack("read")])
    assert forbidden(kim("upsert", **GOAT, records=[{"id": 1}]), unauthorized=[lack("update")])
    assert forbidden(kim("delete", **GOAT, hash_values=[1]), unauthorized=[lack("delete")])
    assert kim("insert", **GOAT, records=[{"id": 7, "brand_new": 1}]).status == 200
    assert kim("create_attribute", **GOAT, attribute="horn").status == 200


LISTED = [attribute("name", "read", "insert", "update"), attribute("age", "read")]


def test_rights_on_attributes(member: Member) -> None:
    kim = member(on_goats("read", "insert", "update", attributes=LISTED))
    (row,) = kim.ok("search_by_hash", **GOAT, hash_values=[1], get_attributes=["*"])
    assert [*row] == ["name", "age", "id"]
    assert kim.ok("search_by_value", **GOAT, search_attribute="id", search_value=1) == [
        {"name": "Ivy", "age": 3, "id": 1}
    ]
    assert kim.ok("sql", sql="SELECT * FROM farm.goat WHERE id = 1") == [{"name": "Ivy", "age": 3, "id": 1}]
    hidden = ["Attribute 'coat' does not exist on 'farm.goat'"]
    reads: list[tuple[str, dict[str, Any]]] = [
        ("search_by_hash", {"hash_values": [1], "get_attributes": ["coat"]}),
        ("search_by_value", {"search_attribute": "coat", "search_value": "grey"}),
        ("search_by_conditions", {"conditions": [{"attribute": "coat", "value": "grey"}]}),
        ("search_by_conditions", {"conditions": [{"conditions": [{"search_attribute": "coat", "value": 1}]}]}),
        (
            "search_by_conditions",
            {
                "conditions": [{"attribute": "id", "value": 1}],
                "sort": {"attribute": "id", "next": {"attribute": "coat"}},
            },
        ),
    ]
    for operation, members in reads:
        assert forbidden(kim(operation, **GOAT, **members), invalid=hidden), members
    for sql in ("SELECT coat FROM farm.goat", "SELECT id FROM farm.goat ORDER BY coat"):
        reply = kim("sql", sql=sql)
        assert reply.status == 403 and reply.body["invalid_schema_items"] == hidden
    assert forbidden(kim("insert", **GOAT, records=[{"id": 8, "coat": "x"}]), invalid=hidden)
    refused = kim("update", **GOAT, records=[{"id": 1, "age": 9}])
    assert forbidden(
        refused, unauthorized=[lack(attributes=[{"attribute_name": "age", "required_permissions": ["update"]}])]
    )
    assert kim("update", **GOAT, records=[{"id": 1, "name": "Iv"}]).status == 200


def test_a_role_that_may_read_no_attribute_learns_no_name_from_a_star(member: Member) -> None:
    kim = member(on_goats("read", "insert", attributes=[attribute("name", "insert")]))
    assert kim.ok("search_by_hash", **GOAT, hash_values=[1], get_attributes=["*"]) == [{}]


def test_times_cannot_be_written_by_roles_that_list_them(member: Member) -> None:
    listed = [attribute("name", "insert"), attribute("__createdtime__", "read", "insert")]
    kim = member(on_goats("read", "insert", attributes=listed))
    reply = kim("insert", **GOAT, records=[{"id": 8, "__createdtime__": 1}])
    assert reply.status == 403 and reply.body["error"].startswith("Internal timestamp attributes")


def test_descriptions_show_what_the_role_sees(member: Member, farm: Api) -> None:
    kim = member(on_goats("read", "insert", "update", attributes=LISTED))
    assert kim.ok("describe_all").keys() == {"farm"}
    described = kim.ok("describe_schema", schema="farm")
    assert described.keys() == {"goat"}
    assert [entry["attribute"] for entry in described["goat"]["attributes"]] == ["id", "name", "age"]
    assert forbidden(
        kim("describe_table", schema="farm", table="secret"), invalid=["Table 'farm.secret' does not exist"]
    )
    assert forbidden(kim("describe_schema", schema="nope"), invalid=["schema 'nope' does not exist"])
    assert member({}).ok("describe_all") == {}
    refused = kim("describe_schema", schema="system")
    assert forbidden(refused, unauthorized=["Your role does not have permission to view schema metadata for 'system'"])


def test_structure_users(member: Member) -> None:
    everywhere, here = member({"structure_user": True}), member({"structure_user": ["farm"]})
    assert everywhere.ok("create_schema", schema="new")
    assert here.ok("create_table", schema="farm", table="barn", hash_attribute="id")
    assert here.ok("insert", schema="farm", table="barn", records=[{"id": 1}])
    assert forbidden(
        here("create_table", schema="new", table="t", hash_attribute="id"),
        unauthorized=["User does not have access to perform 'create_table' against schema 'new'"],
    )
    assert forbidden(
        here("create_schema", schema="more"),
        unauthorized=["Operation 'createSchema' is restricted to 'super_user' roles"],
    )
    assert forbidden(
        member(on_goats("read"))("drop_attribute", **GOAT, attribute="age"),
        unauthorized=["Operation 'dropAttribute' is restricted to 'super_user' roles"],
    )


def test_sql_needs_the_rights_on_every_table(member: Member) -> None:
    kim = member(on_goats("read"))
    for sql in (
        "SELECT g.id FROM farm.goat g INNER JOIN farm.secret s ON g.id = s.id",
        "SELECT COUNT(*) AS n FROM farm.secret",
        "SELECT nope FROM farm.secret",
        "DELETE FROM farm.secret",
    ):
        reply = kim("sql", sql=sql)
        assert reply.status == 403 and reply.body["invalid_schema_items"] == ["Table 'farm.secret' does not exist"]
    reply = kim("sql", sql="UPDATE farm.goat SET age = 1")
    assert reply.body["unauthorized_access"] == [lack("update")]


# ----------------------------------------------------------------------------------------------------- users and roles


def test_users_come_and_go(farm: Api) -> None:
    farm.ok("add_role", role="reader", permission=on_goats("read"))
    assert farm.ok("add_user", username="kim", password="pw", role="reader", active=True) == {
        "message": "kim successfully added"
    }
    again = farm("add_user", username="kim", password="pw", role="reader", active=True)
    assert again.error == (409, "User kim already exists")
    assert farm("add_user").error == (
        400,
        "Username can't be blank,Password can't be blank,Role can't be blank,Active can't be blank",
    )
    assert farm("add_user", username="bo", password="pw", role="no", active=True).error == (404, "no role not found")
    changed = farm.ok("alter_user", username="kim", password="new")
    assert (changed["message"], changed["update_hashes"]) == ("updated 1 of 1 records", ["kim"])
    assert farm.ok("alter_user", username="bo", active=True)["skipped_hashes"] == ["bo"]
    assert farm("alter_user", username="kim").error == (
        400,
        "nothing to update, must supply active, role or password to update",
    )
    assert farm("alter_user", username="kim", role="no").error == (
        404,
        "Update failed.  Requested 'no' role not found.",
    )
    assert farm("drop_role", id="reader").error == (
        409,
        "Cannot drop role reader as it has active user(s) tied to this role",
    )
    assert farm.ok("drop_user", username="kim") == {"message": "kim successfully deleted"}
    assert farm("drop_user", username="kim").error == (404, "User kim does not exist")
    assert farm.ok("drop_role", id="reader") == {"message": "reader successfully deleted"}


def test_answers_about_users_hold_no_secret(farm: Api) -> None:
    farm.ok("create_authentication_tokens")
    for shown in (farm.ok("user_info"), *farm.ok("list_users")):
        assert shown.keys() <= {"active", "username", "role", "__createdtime__", "__updatedtime__"}
    (admin,) = farm.ok("list_users")
    tables = admin["role"]["permission"]["system"]["tables"]
    assert tables["hdb_user"] == {
        "read": True,
        "insert": False,
        "update": False,
        "delete": False,
        "attribute_permissions": [],
    }
    assert farm.ok("user_info")["role"]["permission"] == {"super_user": True}


def test_the_last_super_user_stays(farm: Api) -> None:
    assert farm("drop_user", username=ADMIN).status == 409
    assert farm("alter_user", username=ADMIN, active=False).status == 409
    farm.ok("add_role", role="reader", permission=on_goats("read"))
    assert farm("alter_user", username=ADMIN, role="reader").status == 409
    assert farm("alter_role", id="super_user", permission={}).status == 409
    farm.ok("add_user", username="boss", password="pw", role="super_user", active=True)
    assert farm("drop_user", username=ADMIN).status == 200


def test_roles_are_found_by_id_and_by_name_and_stay_attached_when_renamed(farm: Api) -> None:
    role = farm.ok("add_role", role="reader", permission=on_goats("read"))
    farm.ok("add_user", username="kim", password="pw", role="reader", active=True)
    assert farm("add_role", role="reader", permission={}).error == (409, "A role with name 'reader' already exists")
    renamed = farm.ok("alter_role", id=role["id"], role="viewer", permission=on_goats("read"))
    assert renamed["role"] == "viewer"
    assert farm.as_user("kim").ok("user_info")["role"]["role"] == "viewer"
    other = farm.ok("add_role", role="reader", permission={})
    assert other["id"] != role["id"]
    assert {entry["role"] for entry in farm.ok("list_roles")} == {"super_user", "cluster_user", "viewer", "reader"}
    assert farm("alter_role", id="nope", permission={}).error == (400, "Invalid role id")
    assert farm("drop_role", id="nope").error == (404, "Role not found")


def errors(reply: Reply) -> tuple[list[str], dict[str, list[str]]]:
    assert reply.error == (400, "Errors in the role permissions JSON provided")
    return reply.body["main_permissions"], reply.body["schema_permissions"]


def test_all_problems_of_a_permission_document_are_told(farm: Api) -> None:
    assert errors(farm("add_role", extra=1, more=2)) == (
        ["Role can't be blank", "Permission can't be blank", "Invalid keys in JSON body - 'extra', 'more'"],
        {},
    )
    assert errors(farm("add_role", role="a b", permission={"super_user": True, "farm": {}}))[0] == [
        "Role is invalid",
        "Roles with 'super_user' set to true cannot have other permissions set.",
        "Value for 'farm' must be an object with 'tables'",
    ]
    flags: dict[str, Any] = {"read": False, "insert": "x", "drop": True}
    listed = [attribute("age", "read"), {"read": True}, {"attribute_name": "zip"}, {"attribute_name": "name", "foo": 1}]
    document = {"farm": {"tables": {"goat": {**flags, "attribute_permissions": listed}, "nope": {}}}, "barn": {}}
    main, tables = errors(farm("add_role", role="r", permission=document))
    assert main == ["Table 'farm.nope' does not exist", "database 'barn' does not exist"]
    assert tables == {
        "farm_goat": [
            "Invalid table permission key value 'drop'",
            "Table INSERT permission must be a boolean",
            "Missing table UPDATE permission",
            "Missing table DELETE permission",
            "Permission object in 'attribute_permission' missing an 'attribute_name'",
            "Invalid attribute 'zip' in 'attribute_permissions'",
            "Invalid attribute permission key value 'foo'",
            "READ attribute permission missing for 'name'",
            "INSERT attribute permission missing for 'name'",
            "UPDATE attribute permission missing for 'name'",
            "You have a conflict with TABLE permissions for 'farm.goat' being false "
            "and ATTRIBUTE permissions being true",
        ]
    }


# -------------------------------------------------------------------------------------------------------------- tokens


def tokens(api: Api, **members: Any) -> tuple[str, str]:
    made = api.ok("create_authentication_tokens", **members)
    return made["operation_token"], made["refresh_token"]


def test_tokens_stand_for_their_user(farm: Api) -> None:
    operation, refresh = tokens(farm.as_nobody(), username=ADMIN, password=PASSWORD)
    assert farm.bearing(operation).ok("user_info")["username"] == ADMIN
    assert farm.bearing(refresh)("user_info").error == (401, "invalid token")
    assert farm.bearing(operation)("refresh_operation_token").error == (400, "'refresh_token' is required")
    renewed = farm.bearing(refresh).ok("refresh_operation_token")["operation_token"]
    assert farm.bearing(renewed).ok("user_info")["username"] == ADMIN
    assert farm.ok("refresh_operation_token", refresh_token=refresh)
    assert farm("refresh_operation_token", refresh_token=operation).error == (401, "invalid token")


def test_bad_credentials_make_no_tokens(farm: Api) -> None:
    nobody = farm.as_nobody()
    assert nobody("create_authentication_tokens").error == (401, "Must login")
    for members in ({"username": ADMIN, "password": "no"}, {"username": ADMIN}, {"password": PASSWORD}):
        assert nobody("create_authentication_tokens", **members).error == (401, "invalid credentials")
    assert nobody("create_authentication_tokens", username=5, password="x").error == (
        400,
        "'username' must be a string",
    )


def test_lifetimes(farm: Api) -> None:
    short, _ = tokens(farm, expires_in=0)
    assert farm.bearing(short)("user_info").error == (401, "token expired")
    long, _ = tokens(farm, expires_in="1d")
    assert farm.bearing(long)("user_info").status == 200
    for bad in ("soon", -1, True, 1e300):
        assert farm("create_authentication_tokens", expires_in=bad).status == 400


def test_new_refresh_tokens_end_the_former_one_and_a_new_password_ends_all(farm: Api) -> None:
    operation, refresh = tokens(farm, expires_in="1h")
    farm.ok("alter_user", username=ADMIN, password="new")
    for token in (operation, refresh):
        assert farm.bearing(token)("refresh_operation_token").error == (401, "invalid token")
    assert farm.bearing(operation)("user_info").error == (401, "invalid token")


def test_tokens_of_another_node_or_without_signature_are_refused(farm: Api) -> None:
    import jwt
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    operation, _ = tokens(farm)
    claims = jwt.decode(operation, options={"verify_signature": False})
    foreign = jwt.encode(claims, generate_private_key(65537, 2048), algorithm="RS256")
    unsigned = jwt.encode(claims, None, algorithm="none")
    for token in (foreign, unsigned, operation[:-4] + "AAAA"):
        assert farm.bearing(token)("user_info").error == (401, "invalid token")


def test_no_operation_shows_what_passwords_and_tokens_are_checked_against(node: engine.Node, farm: Api) -> None:
    farm.ok("create_authentication_tokens")
    stored = node.system("hdb_user").get(ADMIN)
    assert stored is not None
    table = {"schema": "system", "table": "hdb_user"}
    answers = [
        farm.ok("search_by_hash", **table, hash_values=[ADMIN], get_attributes=["*"]),
        farm.ok("search_by_value", **table, search_attribute="username", search_value="*"),
        farm.ok("search_by_conditions", **table, conditions=[{"search_attribute": "active", "search_value": True}]),
        farm.ok("sql", sql="SELECT * FROM system.hdb_user"),
        farm.ok("read_transaction_log", **table),
        farm.ok("describe_table", **table),
        farm.ok("list_users"),
        farm.ok("user_info"),
    ]
    assert all(ADMIN in json.dumps(answer) for answer in answers if "record_count" not in answer)
    for secret in (stored["password"], stored["refresh_token"]):
        assert secret and secret not in json.dumps(answers)
    for name in ("password", "refresh_token"):
        for refused in (
            farm("search_by_hash", **table, hash_values=[ADMIN], get_attributes=[name]),
            farm("search_by_value", **table, search_attribute=name, search_value="*"),
            farm("search_by_conditions", **table, conditions=[{"search_attribute": name, "search_value": "x"}]),
            farm(
                "search_by_conditions",
                **table,
                conditions=[{"search_attribute": "username", "search_value": ADMIN}],
                sort={"attribute": name},
            ),
        ):
            assert refused.status == 403
            assert refused.body["invalid_schema_items"] == [f"Attribute '{name}' does not exist on 'system.hdb_user'"]


def test_no_suggestion_of_an_error_names_what_may_not_be_seen(
    farm: Api, member: Callable[[dict[str, Any]], Api]
) -> None:
    kim = member(on_goats("read", attributes=[attribute("name", "read")]))
    assert farm("sql", sql="SELECT coats FROM farm.goat").error == (400, "unknown column coats. Did you mean coat?")
    assert kim("sql", sql="SELECT coats FROM farm.goat").error == (400, "unknown column coats")
    assert farm("sql", sql="SELECT * FROM farm.secrets").error == (
        404,
        "Table 'farm.secrets' does not exist. Did you mean farm.secret?",
    )
    assert "secret?" not in str(kim("sql", sql="SELECT * FROM farm.secrets").body)

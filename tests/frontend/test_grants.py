"""What a permission document grants."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from frontend.grants import EVERYTHING, NOTHING, READ_ONLY, compile_grants


def table(*rights: str, attributes: Any = ()) -> dict[str, Any]:
    flags = {right: right in rights for right in ("read", "insert", "update", "delete")}
    return {**flags, "attribute_permissions": attributes}


def attribute(name: str, *rights: str) -> dict[str, Any]:
    return {"attribute_name": name, **{right: right in rights for right in ("read", "insert", "update")}}


def test_a_super_user_may_do_everything_but_write_system_tables() -> None:
    grants = compile_grants({"super_user": True})
    assert grants.on("farm", "goat") is EVERYTHING
    assert grants.on("system", "hdb_role") is READ_ONLY
    assert grants.structures("farm") and not grants.structures("system")


def test_not_even_a_super_user_reads_hashes_of_passwords_or_tokens() -> None:
    grants = compile_grants({"super_user": True})
    users, sessions = grants.on("system", "hdb_user"), grants.on("system", "hdb_session")
    assert users is not None and users.rights == {"read"}
    assert users.attributes is not None and not {"password", "refresh_token"} & users.attributes.keys()
    assert sessions is not None and not sessions.rights


def test_a_structure_user_has_the_data_of_its_schemas() -> None:
    everywhere = compile_grants({"structure_user": True})
    assert everywhere.on("farm", "goat") is EVERYTHING and everywhere.on("system", "hdb_user") is None
    here = compile_grants({"structure_user": ["farm"], "shop": {"tables": {"till": table("read")}}})
    assert here.on("farm", "goat") is EVERYTHING and here.on("other", "goat") is None
    assert here.sees("farm") and here.sees("shop") and not here.sees("other")
    assert not here.structures("shop")


def test_a_table_without_any_right_is_invisible() -> None:
    grants = compile_grants({"farm": {"tables": {"goat": table("read"), "secret": table()}}})
    assert grants.on("farm", "goat") is not None and grants.on("farm", "secret") is None
    assert compile_grants({"farm": {"tables": {"secret": table()}}}).sees("farm") is False


def test_without_attribute_permissions_the_rights_hold_for_all_attributes() -> None:
    for none in ([], None):
        grant = compile_grants({"farm": {"tables": {"goat": table("read", attributes=none)}}}).on("farm", "goat")
        assert grant is not None
        assert grant.on("anything", "id") == {"read"} and grant.readable("id") is None


def test_attributes_that_are_not_listed_are_denied_and_the_key_follows_the_listed_ones() -> None:
    listed = [attribute("name", "read", "insert"), attribute("age", "read"), attribute("note", "insert")]
    grant = compile_grants({"farm": {"tables": {"goat": table("read", "insert", attributes=listed)}}}).on(
        "farm", "goat"
    )
    assert grant is not None
    assert grant.on("owner", "id") == frozenset()
    assert grant.on("id", "id") == {"read", "insert"}
    assert grant.readable("id") == ["name", "age", "id"]
    assert grant.visible("id") == ["name", "age", "note", "id"]


def test_a_listed_key_has_what_is_listed() -> None:
    listed = [attribute("id", "read"), attribute("name", "insert")]
    grant = compile_grants({"farm": {"tables": {"goat": table("read", "insert", attributes=listed)}}}).on(
        "farm", "goat"
    )
    assert grant is not None and grant.on("id", "id") == {"read"}


def test_an_attribute_has_no_right_that_the_table_lacks() -> None:
    grants = compile_grants(
        {"farm": {"tables": {"goat": table("read", attributes=[attribute("a", "read", "update")])}}}
    )
    grant = grants.on("farm", "goat")
    assert grant is not None and grant.on("a", "id") == {"read"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["farm", "tables", "goat", "read", "structure_user", "attribute_permissions", "attribute_name"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_a_stored_document_holds_it_compiles_and_grants_nothing_by_accident(document: Any) -> None:
    grants = compile_grants(document)
    assert not grants.super_user and not grants.cluster_user
    if not isinstance(document, dict):
        assert grants is NOTHING

"""What a role may do: its permission document, compiled once into something that is quick to ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

RIGHTS = ("read", "insert", "update", "delete")
ATTRIBUTE_RIGHTS = ("read", "insert", "update")
SYSTEM = "system"
TIMES = ("__createdtime__", "__updatedtime__")


@dataclass(frozen=True, slots=True)
class TableGrant:
    """The rights on one table. `attributes` is None where they hold for all attributes, else the rights on each."""

    rights: frozenset[str]
    attributes: Mapping[str, frozenset[str]] | None = None

    def on(self, attribute: str, primary_key: str) -> frozenset[str]:
        """The rights on an attribute; a key that is not listed has whatever any listed attribute has."""
        if self.attributes is None:
            return self.rights
        if attribute == primary_key and attribute not in self.attributes:
            return frozenset().union(*self.attributes.values())
        return self.attributes.get(attribute, frozenset())

    def readable(self, primary_key: str) -> list[str] | None:
        """The attributes that `*` stands for, in the order of the role and the key last; None for all."""
        return self._having(primary_key, lambda rights: "read" in rights)

    def visible(self, primary_key: str) -> list[str] | None:
        """The attributes with any right at all; None for all."""
        return self._having(primary_key, bool)

    def _having(self, primary_key: str, wanted: Callable[[frozenset[str]], bool]) -> list[str] | None:
        if self.attributes is None:
            return None
        names = dict.fromkeys([*self.attributes, primary_key])
        return [name for name in names if wanted(self.on(name, primary_key))]


EVERYTHING = TableGrant(frozenset(RIGHTS))
READ_ONLY = TableGrant(frozenset({"read"}))
NO_RIGHTS = TableGrant(frozenset())

#: The tables of the system schema that hold what nobody may read: hashes of passwords and of tokens.
GUARDED = {
    "hdb_session": NO_RIGHTS,
    "hdb_user": TableGrant(READ_ONLY.rights, dict.fromkeys(("username", "role", "active", *TIMES), READ_ONLY.rights)),
}


@dataclass(frozen=True, slots=True)
class Grants:
    """What a role may do. `structure` is True, or the schemas in which its users may make and drop tables."""

    super_user: bool = False
    cluster_user: bool = False
    structure: bool | frozenset[str] = False
    tables: Mapping[tuple[str, str], TableGrant] = field(default_factory=dict)

    def on(self, schema: str, table: str) -> TableGrant | None:
        """The rights on a table, None when the table is invisible."""
        if schema == SYSTEM:
            return GUARDED.get(table, READ_ONLY) if self.super_user else None
        if self.super_user or self.structures(schema):
            return EVERYTHING
        return self.tables.get((schema, table))

    def structures(self, schema: str) -> bool:
        """Whether tables of this schema may be made and dropped."""
        if schema == SYSTEM:
            return False
        return self.super_user or self.structure is True or (bool(self.structure) and schema in self.structure)  # type: ignore[operator]

    def sees(self, schema: str) -> bool:
        if self.super_user:
            return True
        return self.structures(schema) or any(named == schema for named, _ in self.tables)


NOTHING = Grants()


def compile_grants(permission: Any) -> Grants:
    """The grants of a permission document; what it should not hold is left out rather than guessed."""
    if not isinstance(permission, dict):
        return NOTHING
    tables = {
        (schema, table): grant
        for schema, entry in permission.items()
        if isinstance(entry, dict) and isinstance(entry.get("tables"), dict)
        for table, description in entry["tables"].items()
        if isinstance(description, dict) and (grant := _table_grant(description)).rights
    }
    structure = permission.get("structure_user")
    return Grants(
        super_user=permission.get("super_user") is True,
        cluster_user=permission.get("cluster_user") is True,
        structure=frozenset(map(str, structure)) if isinstance(structure, list) else structure is True,
        tables=tables,
    )


def _table_grant(description: dict[str, Any]) -> TableGrant:
    rights = _true(description, RIGHTS)
    listed = description.get("attribute_permissions")
    if not listed:
        return TableGrant(rights)
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return TableGrant(
        rights, {str(entry.get("attribute_name")): _true(entry, ATTRIBUTE_RIGHTS) & rights for entry in entries}
    )


def _true(flags: dict[str, Any], names: Iterable[str]) -> frozenset[str]:
    return frozenset(name for name in names if flags.get(name) is True)

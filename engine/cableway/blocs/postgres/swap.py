"""
A new table built beside the old one, which takes its place in the run's last moment.

Readers of the old table are held up only while the names change. The new table has the old one's columns,
defaults, constraints, indexes, owner, grants, options and comments; what cannot be carried over is refused
by name before anything is written. A reader whose snapshot is older than the change sees the new table empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, LiteralString, cast

from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier, Literal

from cableway.blocs.postgres.table import MAX_IDENTIFIER_BYTES, Target
from cableway.errors import SinkError

_FACTS = SQL(
    "SELECT c.oid, pg_get_userbyid(c.relowner) AS owner, c.relacl IS NOT NULL AS granted, "
    "c.reloptions AS options, obj_description(c.oid, 'pg_class') AS comment "
    "FROM pg_class c WHERE c.oid = to_regclass(%s)"
)
_OBSTACLES = SQL(
    "SELECT reason FROM pg_class c CROSS JOIN LATERAL ("
    "SELECT 'is partitioned or foreign' AS reason WHERE c.relkind <> 'r' UNION ALL "
    "SELECT 'is temporary' WHERE c.relpersistence = 't' UNION ALL "
    "SELECT 'is unlogged' WHERE c.relpersistence = 'u' UNION ALL "
    "SELECT 'has a tablespace of its own' WHERE c.reltablespace <> 0 UNION ALL "
    "SELECT 'has row security' WHERE c.relrowsecurity UNION ALL "
    "SELECT 'has a replica identity' WHERE c.relreplident <> 'd' UNION ALL "
    "SELECT 'inherits or is inherited' FROM pg_inherits WHERE c.oid IN (inhrelid, inhparent) UNION ALL "
    "SELECT 'is of a composite type' WHERE c.reloftype <> 0 UNION ALL "
    "SELECT format('has the trigger %%I', tgname) FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal UNION ALL "
    "SELECT format('has the foreign key %%I', conname) FROM pg_constraint WHERE contype = 'f' AND conrelid = c.oid "
    "UNION ALL SELECT format('is referred to by the foreign key %%I', conname) FROM pg_constraint "
    "WHERE contype = 'f' AND confrelid = c.oid AND conrelid <> c.oid UNION ALL "
    "SELECT 'is read by a view or has a rule' FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid "
    "WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = c.oid UNION ALL "
    "SELECT 'is published' FROM pg_publication_rel WHERE prrelid = c.oid"
    ") AS obstacle WHERE c.oid = to_regclass(%s) LIMIT 1"
)
_MAKE = SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)")
_LOCK = SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE")
_DROP = SQL("DROP TABLE {}")
_RENAME = SQL("ALTER TABLE {} RENAME TO {}")
_RENAME_INDEX = SQL("ALTER INDEX {} RENAME TO {}")
_RENAME_SEQUENCE = SQL("ALTER SEQUENCE {} RENAME TO {}")
_OWN = SQL("ALTER TABLE {} OWNER TO {}")
_OPTIONS = SQL("ALTER TABLE {} SET ({})")
_COMMENT = SQL("COMMENT ON TABLE {} IS {}")
_KEEP_SEQUENCE = SQL("ALTER SEQUENCE {} OWNED BY {}")
_SET_SEQUENCE = SQL("SELECT setval(to_regclass(%s), last_value, is_called) FROM {}")
_REVOKE = SQL("REVOKE ALL ON {} FROM {}")
# Of two indexes, the same words behind their names: what they are on, and how.
_INDEXES = SQL(
    "SELECT i.relname AS name, row_number() OVER (PARTITION BY definition, x.indisprimary ORDER BY i.oid) AS nth, "
    "definition, x.indisprimary AS primary FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid "
    "JOIN pg_class t ON t.oid = x.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace CROSS JOIN LATERAL ("
    "SELECT substr(pg_get_indexdef(i.oid), length(format('CREATE %%sINDEX %%I ON %%I.%%I ', "
    "CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END, i.relname, n.nspname, t.relname)) + 1) AS definition"
    ") AS described WHERE t.oid = to_regclass(%s)"
)
_SEQUENCES = SQL(
    "SELECT s.relname AS name, sn.nspname AS schema, a.attname AS column, d.deptype = 'i' AS identity "
    "FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' "
    "JOIN pg_namespace sn ON sn.oid = s.relnamespace "
    "JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid "
    "WHERE d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjid = to_regclass(%s)"
)
_GRANTS = SQL(
    "SELECT privilege_type AS privilege, pg_get_userbyid(grantee) AS role, grantee = 0 AS everybody, is_grantable, "
    "column_name FROM pg_class c CROSS JOIN LATERAL ("
    "SELECT a.*, NULL::name AS column_name FROM aclexplode(c.relacl) AS a UNION ALL "
    "SELECT a.*, attname FROM pg_attribute, aclexplode(attacl) AS a WHERE attrelid = c.oid AND NOT attisdropped"
    ") AS granted WHERE c.oid = to_regclass(%s)"
)


ASIDE_PREFIX = "cableway_swap_"
"""What the names of tables begin with that are to take another one's place."""


@dataclass(frozen=True, slots=True)
class Swap:
    """A table and the one that is built *aside* to take its place. All in one transaction."""

    target: Target
    aside: Target

    @classmethod
    def begun(cls, connection: Connection[Any], target: Target) -> Swap:
        """Make the new table. Raise `SinkError` for a table that has what cannot be carried over."""
        swap = cls.of(target)
        swap.make(connection)
        return swap

    @classmethod
    def of(cls, target: Target, line: str = "") -> Swap:
        """The swap of *target*, which need not be begun. Each *line* has a table of its own aside."""
        name = f"{ASIDE_PREFIX}{_digest(repr(Target(target.schema, target.table)))}"
        if line:
            name += f"_{_digest(line)}"
        return cls(target, Target(target.schema, name, shown_as=target.where))

    def make(self, connection: Connection[Any]) -> None:
        """Make the new table as the old one is. Raise `SinkError` as `begun`."""
        self._refuse_obstacles(connection)
        connection.execute(_MAKE.format(self.aside.identifier, self.target.identifier))

    def place(self, connection: Connection[Any]) -> None:
        """As `finish`, though the old table may not be there, and much may have become of it since `make`."""
        if self.target.columns(connection):
            self._refuse_obstacles(connection)
            self.finish(connection)
            return
        made = [row["name"] for row in connection.execute(_INDEXES, (_name(self.aside),)).fetchall()]
        connection.execute(_RENAME.format(self.aside.identifier, Identifier(self.target.table)))
        for name in made:
            wanted = f"{self.target.table}{name.removeprefix(self.aside.table)}"
            if len(wanted.encode()) <= MAX_IDENTIFIER_BYTES:
                connection.execute(_RENAME_INDEX.format(Identifier(self.target.schema, name), Identifier(wanted)))

    def _refuse_obstacles(self, connection: Connection[Any]) -> None:
        obstacle = connection.execute(_OBSTACLES, (_name(self.target),)).fetchone()
        if obstacle is not None:
            raise SinkError(
                f"{self.target.where} {obstacle['reason']}, which a swap cannot carry over; use if_exists 'replace'"
            )

    def finish(self, connection: Connection[Any]) -> None:
        """Let the new table take the old one's place, which waits for those who read the old one."""
        old, new = self.target.identifier, self.aside.identifier
        connection.execute(_LOCK.format(old))
        facts = connection.execute(_FACTS, (_name(self.target),)).fetchone()
        if facts is None:
            raise SinkError(f"{self.target.where} was dropped meanwhile")
        self._dress(connection, facts)
        self._grant(connection, facts)
        indexes = self._renamed_indexes(connection)
        sequences = self._moved_sequences(connection)
        connection.execute(_DROP.format(old))
        connection.execute(_RENAME.format(new, Identifier(self.target.table)))
        for statement in (*indexes, *sequences):
            connection.execute(statement)

    def _dress(self, connection: Connection[Any], facts: Any) -> None:
        new = self.aside.identifier
        own = connection.execute(_FACTS, (_name(self.aside),)).fetchone()
        if own is not None and own["owner"] != facts["owner"]:
            connection.execute(_OWN.format(new, Identifier(facts["owner"])))
        if facts["options"]:
            # As the server keeps them: each is a name that it knows and a number or a word.
            options = SQL(cast("LiteralString", ", ".join(facts["options"])))
            connection.execute(_OPTIONS.format(new, options))
        if facts["comment"] is not None:
            connection.execute(_COMMENT.format(new, Literal(facts["comment"])))

    def _grant(self, connection: Connection[Any], facts: Any) -> None:
        """The old table's grants and no others: new tables may come with some by default."""
        new = self.aside.identifier
        for grant in connection.execute(_GRANTS, (_name(self.aside),)).fetchall():
            connection.execute(_REVOKE.format(new, _role(grant)))
        if facts["granted"]:
            connection.execute(_REVOKE.format(new, Identifier(facts["owner"])))
        for grant in connection.execute(_GRANTS, (_name(self.target),)).fetchall():
            connection.execute(_grant_of(grant, new))
        if not facts["granted"]:
            connection.execute(SQL("GRANT ALL ON {} TO {}").format(new, Identifier(facts["owner"])))

    def _renamed_indexes(self, connection: Connection[Any]) -> list[Composed]:
        """What gives the new indexes the old ones' names, for when those are free; constraints go with them."""

        def named(table: Target) -> dict[tuple[Any, ...], str]:
            rows = connection.execute(_INDEXES, (_name(table),)).fetchall()
            return {(row["definition"], row["primary"], row["nth"]): row["name"] for row in rows}

        new = named(self.aside)
        schema = self.target.schema
        return [
            _RENAME_INDEX.format(Identifier(schema, new[described]), Identifier(name))
            for described, name in named(self.target).items()
            if described in new
        ]

    def _moved_sequences(self, connection: Connection[Any]) -> list[Composed]:
        """Sequences of serial columns change hands now; those of identity columns go on where the old ones were."""
        new = {row["column"]: row for row in connection.execute(_SEQUENCES, (_name(self.aside),)).fetchall()}
        later: list[Composed] = []
        for row in connection.execute(_SEQUENCES, (_name(self.target),)).fetchall():
            sequence = Identifier(row["schema"], row["name"])
            if not row["identity"]:
                column = Identifier(self.aside.schema, self.aside.table, row["column"])
                connection.execute(_KEEP_SEQUENCE.format(sequence, column))
            elif row["column"] in new:
                made = new[row["column"]]
                place = Identifier(made["schema"], made["name"])
                connection.execute(_SET_SEQUENCE.format(sequence), (place.as_string(connection),))
                later.append(_RENAME_SEQUENCE.format(place, Identifier(row["name"])))
        return later


def _grant_of(grant: Any, table: Identifier) -> Composed:
    column = grant["column_name"]
    parts = SQL(cast("LiteralString", grant["privilege"]))  # a word of the server's own
    what = SQL("{} ({})").format(parts, Identifier(column)) if column is not None else parts
    statement = SQL("GRANT {} ON {} TO {}").format(what, table, _role(grant))
    return statement + SQL(" WITH GRANT OPTION") if grant["is_grantable"] else statement


def _role(grant: Any) -> SQL | Identifier:
    return SQL("PUBLIC") if grant["everybody"] else Identifier(grant["role"])


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _name(table: Target) -> str:
    return table.identifier.as_string()

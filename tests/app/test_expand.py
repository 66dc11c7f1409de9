"""Which statements take something away from the release in service."""

from __future__ import annotations

import pytest

from app.db import migrations
from app.db.expand import destructive
from app.db.migrations import Kind


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE a",
        "DROP VIEW IF EXISTS a",
        "DROP FUNCTION f(int)",
        "TRUNCATE a",
        "DELETE FROM a",
        "UPDATE a SET b = (SELECT c FROM d WHERE e)",
        "WITH x AS (SELECT 1 WHERE true) DELETE FROM a USING x",
        "ALTER TABLE a DROP COLUMN b",
        "ALTER TABLE ONLY s.a DROP b",
        'ALTER TABLE IF EXISTS "a b" ADD c int, DROP IF EXISTS "d"',
        "ALTER TABLE a RENAME TO b",
        "ALTER TABLE a RENAME b TO c",
        "ALTER VIEW a RENAME TO b",
        "ALTER TYPE a RENAME VALUE 'b' TO 'c'",
        "ALTER TABLE a SET SCHEMA b",
        "ALTER TABLE a ALTER COLUMN b TYPE bigint USING b::bigint",
        "ALTER TABLE a ALTER b SET DATA TYPE numeric(10, 2)",
        "ALTER TABLE a ALTER b SET NOT NULL",
        "ALTER TABLE a ALTER b DROP DEFAULT",
        "ALTER TABLE a ADD COLUMN b int NOT NULL",
        "ALTER TABLE a ADD c numeric(10, 2), ADD b int NOT NULL CHECK (b > 0)",
        "/* a /* nested */ comment */ DROP -- table\n TABLE a",
        "SELECT 'DROP'; SELECT $$;$$; drop schema s cascade",
        "CREATE TABLE IF NOT EXISTS a (b int); ALTER TABLE a DROP b",
        "CREATE TABLE other (); ALTER TABLE a DROP b",
    ],
)
def test_what_takes_something_away_is_recognised(statement: str) -> None:
    assert destructive(f"CREATE INDEX i ON t (c);\n{statement};\n")


@pytest.mark.parametrize(
    "statement",
    [
        "",
        "; ;",
        "CREATE TABLE a (b int NOT NULL)",
        "DROP INDEX CONCURRENTLY a",
        "DROP TRIGGER t ON a",
        "ALTER INDEX a RENAME TO b",
        "ALTER TABLE a RENAME CONSTRAINT b TO c",
        "ALTER TABLE a DROP CONSTRAINT b",
        "ALTER TABLE a ALTER b DROP NOT NULL",
        "ALTER TABLE a ALTER b SET DEFAULT 'DROP COLUMN'",
        "ALTER TABLE a ADD COLUMN b int, ADD c int NOT NULL DEFAULT 0",
        "ALTER TABLE a ADD b bigint GENERATED ALWAYS AS IDENTITY NOT NULL",
        "ALTER TABLE a ADD CONSTRAINT b CHECK (c IS NOT NULL) NOT VALID",
        "ALTER TABLE a VALIDATE CONSTRAINT b",
        "ALTER TYPE a ADD VALUE 'RENAME'",
        "UPDATE a SET b = c WHERE b IS NULL",
        "DELETE FROM a WHERE b",
        "WITH x AS (SELECT 1) UPDATE a SET b = 1 FROM x WHERE a.c",
        "INSERT INTO a VALUES (1) ON CONFLICT (b) DO UPDATE SET b = 2",
        "INSERT INTO a VALUES ('it''s; DROP TABLE a')",
        r"SELECT E'\'; DROP TABLE a; --'",
        "-- DROP TABLE a\nSELECT 1",
        "/* ; DROP TABLE a; */ SELECT 1",
        "DO $do$ BEGIN DROP TABLE a; END $do$",
        'SELECT "DROP" FROM "TABLE"',
        "CREATE TABLE a (b int); ALTER TABLE A ALTER b SET NOT NULL; UPDATE a SET b = 1",
        "CREATE UNLOGGED TABLE s.a (b int); ALTER TABLE ONLY s.a ALTER COLUMN b TYPE bigint",
        "SELECT * FROM a FOR UPDATE",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM a; END'",
    ],
)
def test_what_only_adds_passes(statement: str) -> None:
    assert destructive(statement) == ""


def test_the_files_of_the_application_are_expand_steps_or_say_that_they_are_not() -> None:
    expand = [m for m in migrations.read() if m.kind is Kind.EXPAND]
    assert [m.label for m in expand if destructive(m.sql.decode())] == []

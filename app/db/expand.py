"""Which statements take something away that a release in service may still use. Pure.

Read as text, not parsed: comments, strings and dollar-quoted bodies (DO, functions) are not looked
into, and a constraint that refuses what the former release writes is not recognised.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_TOKEN = re.compile(
    r"""
    (?P<gap>    \s+ | --[^\n]* )
  | (?P<open>   /\* )
  | (?P<string> (?:\b[eE]'(?:[^'\\]|\\.|'')*') | '(?:[^']|'')*'
              | (?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?P=tag) )
  | (?P<quoted> "(?:[^"]|"")*" )
  | (?P<word>   [A-Za-z_0-9][\w$]* )
  | (?P<other>  . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_END = re.compile(r"/\*|\*/")
# What a query does not name may go: an index, and what fires by itself.
_MAY_BE_DROPPED = {"INDEX", "TRIGGER"}
_FILLED_BY_ITSELF = {"DEFAULT", "GENERATED", "SERIAL", "BIGSERIAL", "SMALLSERIAL"}


def destructive(sql: str) -> str:
    """The first statement that is no expand step, on one line; empty when there is none.

    A table that the same text creates may be altered and filled at will.
    """
    statements = list(_statements(sql))
    new = {name for each in statements if (name := _created(each))}
    return next((_shown(each) for each in statements if _takes_away(each, new)), "")


def _takes_away(statement: Sequence[str], new: set[str]) -> bool:
    words = [word.upper() for word in statement]
    match words[0]:
        case "DROP":
            return words[1:2] == [] or words[1] not in _MAY_BE_DROPPED
        case "TRUNCATE":
            return True
        case "DELETE" | "UPDATE" | "WITH":
            return _table(statement) not in new and _touches_every_row(words)
        case "ALTER" if words[1:2] == ["TABLE"]:
            return _table(statement) not in new and any(map(_narrows, _actions(words)))
        case "ALTER":
            return words[1:2] != ["INDEX"] and "RENAME" in words
    return False


def _narrows(action: Sequence[str]) -> bool:
    """Whether an action of ALTER TABLE breaks who reads or writes the table as it was."""
    match list(action):
        case ["DROP", "CONSTRAINT", *_]:
            return False
        case ["RENAME", "CONSTRAINT", *_]:
            return False
        case ["DROP" | "RENAME", *_] | ["SET", "SCHEMA", *_]:
            return True
        case ["ALTER", *rest]:
            rest = rest[1:] if rest[:1] == ["COLUMN"] else rest
            done = rest[1:]  # after the column's name
            return done[:1] == ["TYPE"] or done[:3] in (
                ["SET", "DATA", "TYPE"],
                ["SET", "NOT", "NULL"],
                ["DROP", "DEFAULT"],
            )
        case ["ADD", "CONSTRAINT" | "CHECK" | "UNIQUE" | "PRIMARY" | "FOREIGN" | "EXCLUDE", *_]:
            return False
        case ["ADD", *rest]:
            # The former release does not fill it.
            return _holds(rest, "NOT", "NULL") and not _FILLED_BY_ITSELF.intersection(rest)
    return False


def _touches_every_row(words: Sequence[str]) -> bool:
    """DELETE or UPDATE, also at the end of WITH, without WHERE at its own level."""
    outer = list(_outer(words))
    verbs = [word for word in outer if word in ("DELETE", "UPDATE", "SELECT", "INSERT", "MERGE")]
    return verbs[:1] in (["DELETE"], ["UPDATE"]) and "WHERE" not in outer


def _outer(words: Sequence[str]) -> Iterator[str]:
    """The words outside all brackets."""
    depth = 0
    for word in words:
        depth -= word == ")"
        if not depth:
            yield word
        depth += word == "("


def _actions(words: Sequence[str]) -> Iterator[list[str]]:
    """The actions of ALTER TABLE, which commas part."""
    _, end = _name(words, _name_at(words))
    action: list[str] = []
    for word in _outer([*words[end:], ","]):
        if word == ",":
            yield action
            action = []
        elif word != "*":  # ALTER TABLE parent *
            action.append(word)


def _created(statement: Sequence[str]) -> str:
    """The table that the statement creates for certain; empty when it creates none."""
    words = [word.upper() for word in statement]
    if words[0] != "CREATE" or "TABLE" not in words[:4] or _holds(words[:8], "IF", "NOT"):
        return ""
    return _name(statement, words.index("TABLE") + 1)[0]


def _table(statement: Sequence[str]) -> str:
    return _name(statement, _name_at([word.upper() for word in statement]))[0]


def _name_at(words: Sequence[str]) -> int:
    """Where the table's name begins in ALTER TABLE, DELETE and UPDATE."""
    at = 1
    while at < len(words) and words[at] in ("TABLE", "FROM", "IF", "EXISTS", "ONLY"):
        at += 1
    return at


def _name(statement: Sequence[str], at: int) -> tuple[str, int]:
    """A name, with its schema, and where it ends; what is not quoted is in small letters."""
    end = at + 1
    while statement[end : end + 1] == ["."]:
        end += 2
    return "".join(w if w.startswith('"') else w.lower() for w in statement[at:end]), end


def _holds(words: Sequence[str], *wanted: str) -> bool:
    return any(
        tuple(words[at : at + len(wanted)]) == wanted for at in range(len(words) - len(wanted) + 1)
    )


def _shown(statement: Sequence[str]) -> str:
    """The statement as people write it, cut when it is long."""
    text = re.sub(r" (?=[.,)])|(?<=[.(]) ", "", " ".join(statement))
    return text if len(text) <= 80 else f"{text[:79]}…"


def _statements(sql: str) -> Iterator[list[str]]:
    """The words of each statement, without comments; a string is `'…'`."""
    statement: list[str] = []
    for word in _words(sql):
        if word != ";":
            statement.append(word)
        elif statement:
            yield statement
            statement = []
    if statement:
        yield statement


def _words(sql: str) -> Iterator[str]:
    at = 0
    while at < len(sql) and (found := _TOKEN.match(sql, at)):
        at = found.end()
        if found["open"]:
            at = _end_of_comment(sql, at)
        elif found["string"]:
            yield "'…'"
        elif not found["gap"]:
            yield found[0]


def _end_of_comment(sql: str, at: int) -> int:
    """Comments are nested; one that does not end goes to the end of the text."""
    depth = 1
    while depth and (found := _COMMENT_END.search(sql, at)):
        depth += 1 if found[0] == "/*" else -1
        at = found.end()
    return at if not depth else len(sql)

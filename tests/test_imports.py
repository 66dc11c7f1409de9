"""The arrows of the house: who may import whom (docs/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# The nearest enclosing room counts; a room always may import itself.
ALLOWED: dict[str, set[str]] = {
    "app": set(),
    "deploy": set(),
    "deploy.state": set(),
    "deploy.cluster": {"deploy.state"},
    "deploy.ops": {"deploy.state"},
    "deploy.__main__": {"deploy.ops"},
    "gunicorn.conf": {"deploy.cluster"},
    "loadtests": set(),
}
OURS = ("app", "deploy", "loadtests")


def room(module: str) -> str:
    """The room that a module is in: `deploy.cluster.hooks` is in `deploy.cluster`."""
    while module not in ALLOWED:
        module = module.rpartition(".")[0]
    return module


def modules() -> Iterator[tuple[str, Path]]:
    yield "gunicorn.conf", ROOT / "gunicorn.conf.py"
    for top in OURS:
        for path in sorted((ROOT / top).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imports(module: str, path: Path) -> Iterator[str]:
    """The modules of ours that a file names in an import, wherever in the file that stands."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, node.module or ""]).strip(".") if node.level else node.module
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in OURS)


@pytest.mark.parametrize(("module", "path"), list(modules()))
def test_no_import_points_up(module: str, path: Path) -> None:
    here = room(module)
    for imported in imports(module, path):
        there = room(imported)
        assert there == here or there in ALLOWED[here], f"{module} must not import {imported}"


def test_no_circles_between_modules() -> None:
    names = {name: path for name, path in modules() if name != "gunicorn.conf"}

    def module_of(imported: str) -> str | None:
        return next((n for n in (imported, imported.rpartition(".")[0]) if n in names), None)

    graph = {
        name: {found for imported in imports(name, path) if (found := module_of(imported))} - {name}
        for name, path in names.items()
    }

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail[trail.index(name) :], name))
        for imported in graph[name]:
            if imported not in done:
                visit(imported, (*trail, name))
        done.add(name)

    done: set[str] = set()
    for name in graph:
        visit(name, ())


def test_the_application_runs_without_the_kit() -> None:
    text = "".join(path.read_text() for name, path in modules() if name.startswith("app"))
    assert "import gunicorn" not in text
    assert "from gunicorn" not in text

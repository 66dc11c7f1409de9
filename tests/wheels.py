"""Wheels from what is installed where the tests run: pip then needs no network."""

from __future__ import annotations

import zipfile
from importlib import metadata
from pathlib import Path

_NOT_OF_THE_WHEEL = {"INSTALLER", "REQUESTED", "direct_url.json", "RECORD"}


def collect(folder: Path, *names: str) -> Path:
    """The named distributions, and whatever they require, as wheels in the folder."""
    folder.mkdir(exist_ok=True)
    wanted, seen = list(names), set()
    while wanted:
        name = wanted.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        distribution = metadata.distribution(name)
        _pack(distribution, folder)
        wanted += [_name(line) for line in distribution.requires or [] if ";" not in line]
    return folder


def make(folder: Path, name: str, version: str, module: str) -> None:
    """A wheel of one module."""
    about = f"{name}-{version}.dist-info"
    facts = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    _write(
        folder / f"{name}-{version}-py3-none-any.whl",
        {
            f"{name}.py": module.encode(),
            f"{about}/METADATA": facts.encode(),
            f"{about}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        },
        about,
    )


def _pack(distribution: metadata.Distribution, folder: Path) -> None:
    files = {}
    about = ""
    for path in distribution.files or []:
        if path.name == "WHEEL":
            about = path.parts[0]
        if path.parts[0] != ".." and path.suffix != ".pyc" and path.name not in _NOT_OF_THE_WHEEL:
            files[str(path)] = Path(str(distribution.locate_file(path))).read_bytes()
    lines = files[f"{about}/WHEEL"].decode().splitlines()
    tags = [line.removeprefix("Tag: ").split("-") for line in lines if line.startswith("Tag: ")]
    tag = "-".join(".".join(dict.fromkeys(part)) for part in zip(*tags, strict=True))
    _write(folder / f"{about.removesuffix('.dist-info')}-{tag}.whl", files, about)


def _write(wheel: Path, files: dict[str, bytes], about: str) -> None:
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        record = "".join(f"{name},,\n" for name in (*files, f"{about}/RECORD"))
        archive.writestr(f"{about}/RECORD", record)


def _name(requirement: str) -> str:
    """`markdown-it-py` of `markdown-it-py>=2.2.0`."""
    end = next((i for i, c in enumerate(requirement) if not (c.isalnum() or c in "-_.")), None)
    return requirement[:end]

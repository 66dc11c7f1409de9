"""Which releases stay on the disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.ops import prune, release_list
from deploy.ops.installation import Installation, Release
from deploy.ops.prune import superfluous


def names(text: str) -> list[str]:
    return [f"2026112{number}-000000-aaaaaaa" for number in text]


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    (tmp_path / "releases").mkdir()
    return Installation(tmp_path)


def make(installation: Installation, text: str) -> dict[str, Release]:
    """`1 2F 3B`: a release of each day, F for a failed one, B for one that was not built."""
    made = {}
    for word in text.split():
        (name,) = names(word[0])
        release = Release(id=name, directory=installation.releases / name)
        release.directory.mkdir()
        if "F" in word:
            release.mark("FAILED", "it does not load")
        if "B" in word:
            release.mark("BUILDING")
        made[word[0]] = release
    return made


@pytest.mark.parametrize(
    ("there", "keep", "protected", "gone"),
    [
        ("1 2 3", 3, "", ""),
        ("1 2 3", 2, "", "1"),
        ("1 2 3", 1, "", "12"),
        ("1 2 3", 1, "1", "23"),  # what is protected stays, however old, and counts
        ("1 2 3", 1, "13", "2"),
        ("1 2 3", 1, "123", ""),
        ("1 2F 3F 4", 3, "", "2"),  # the oldest failed one first
        ("1 2F 3F 4", 1, "", "231"),
        ("1 2F 3", 2, "2", "1"),
        ("1B 2 3B 4", 5, "", "13"),  # leftovers are of no use
        ("1B 2 3 4", 2, "", "12"),
        ("1BF 2", 5, "", "1"),
        ("1B 2", 5, "1", ""),
    ],
)
def test_table(
    installation: Installation, there: str, keep: int, protected: str, gone: str
) -> None:
    make(installation, there)
    found = superfluous(installation.all(), keep=keep, protected=names(protected))
    assert [release.id for release in found] == names(gone)


def test_what_is_linked_or_in_use_stays(installation: Installation) -> None:
    made = make(installation, "1 2 3 4 5 6 7")
    for name, number in (("current", "5"), ("previous", "2"), ("bare", "1")):
        installation.link(name, made[number])
    # A process that was started in a release needs its files as long as it lives.
    waiting = "import sys; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", waiting],
        cwd=made["3"].directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert prune.prune(installation, keep=1, spare=[made["4"].id]) == []
        assert [release.id for release in installation.all()] == names("12345")
        process.communicate()
    assert prune.prune(installation, keep=1) == []
    assert [release.id for release in installation.all()] == names("125")


def test_a_release_that_cannot_be_removed_is_a_warning_and_no_release_any_more(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(installation, "1 2")

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.rmtree", full)
    (warning,) = prune.prune(installation, keep=1)
    assert f"release {made['1'].id} cannot be removed" in warning
    assert not made["1"].whole


def test_the_list_says_what_each_release_is(installation: Installation) -> None:
    made = make(installation, "1 2F 3B 4 5")
    for number in "45":
        made[number].mark("LIVED")
    (made["5"].directory / "file").write_bytes(b"x" * 100_000)
    installation.link("current", made["5"])
    installation.link("previous", made["4"])
    lines = release_list.read(installation)
    assert [line.state for line in lines] == [
        "live",
        "previous",
        "not whole",
        "failed: it does not load",
        "has never served",
    ]
    assert 100_000 <= lines[0].size < 200_000
    rows = release_list.to_text(lines).splitlines()
    assert rows[0].split() == ["release", "age", "size", "state"]
    assert rows[4].endswith("failed: it does not load")
    assert release_list.to_text([]) == "no releases"

from __future__ import annotations

from pathlib import Path

import pytest

from bench.peers import environment
from bench.throughput import MissingProgramError


def test_a_missing_program_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgramError, match=r"^node .* apt-get install nodejs$"):
        environment.program("node")
    with pytest.raises(MissingProgramError, match=r"^node "):
        environment.express()

"""Where the cluster that a command is about keeps its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from deploy.state.environment import (
    EnvironmentFileError,
    added_by_file,
    read_env_file,
    runtime_directory,
    state_directory,
)


@dataclass(frozen=True, kw_only=True)
class Directories:
    """As the environment and `.env` name them, just as the master sees them."""

    runtime: Path
    state: Path
    environ: Mapping[str, str]  # with what `.env` adds

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Directories:
        """Raises click.UsageError when the file of ENV_FILE cannot be read."""
        try:
            merged = {**environ, **added_by_file(environ, read_env_file(environ))}
        except EnvironmentFileError as error:
            raise click.UsageError(str(error)) from None
        return cls(runtime=runtime_directory(merged), state=state_directory(merged), environ=merged)

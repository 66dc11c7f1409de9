"""A file that another process reads is replaced as a whole: a crash leaves the old or the new."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from deploy.state.ownership import give_to_owner


def replace_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Puts it in the path's place, readable by all, owned as its directory is; raises OSError.

    `durable`: it outlives a power failure, too.
    """
    fd, new = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            give_to_owner(fd, path.parent)
            os.fchmod(fd, 0o644)
            file.write(content)
            file.flush()
            if durable:
                os.fsync(fd)
        Path(new).rename(path)
    except BaseException:
        Path(new).unlink(missing_ok=True)
        raise
    if durable:
        _sync_name(path.parent)


def _sync_name(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

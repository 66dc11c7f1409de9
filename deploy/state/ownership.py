"""Files in the state directory belong to whom the directory belongs."""

from __future__ import annotations

import os
from pathlib import Path


def give_to_owner(fd: int, directory: Path) -> None:
    """What root's command creates, the service, under its own user, must be able to use."""
    if os.geteuid() == 0 and os.fstat(fd).st_uid != (owner := directory.stat()).st_uid:
        os.fchown(fd, owner.st_uid, owner.st_gid)

"""The sockets that a new configuration listens at: bound before any old one is closed."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gunicorn import sock

from deploy.cluster import listen
from deploy.cluster.listen import AddressTakenError
from deploy.cluster.settings import SettingsError


def rebind(current: Sequence[Any], cfg: Any, log: Any) -> list[Any]:
    """Listeners for `cfg`'s addresses: those of `current` that stay, and new ones.

    Closes nothing. Raises AddressTakenError or SettingsError, with nothing left bound.
    """
    have = {_key(listener.cfg_addr): listener for listener in current}
    wanted, new = [], []
    try:
        for address in cfg.address:
            listener = have.get(_key(address))
            if listener is None:
                listener = _bound(address, cfg, log)
                new.append(listener)
            wanted.append(listener)
    except BaseException:
        close(new)
        raise
    return wanted


def close(listeners: Sequence[Any]) -> None:
    """Stops to listen there; the file of a Unix socket goes with it."""
    for listener in listeners:
        address = listener.cfg_addr
        listener.close()
        if isinstance(address, str) and not address.startswith("\0"):
            with contextlib.suppress(OSError):
                os.unlink(address)  # noqa: PTH108 - as it was bound


def _key(address: object) -> object:
    """The same for two spellings of one address."""
    if not isinstance(address, tuple):
        return address
    try:
        found = socket.getaddrinfo(address[0], address[1], type=socket.SOCK_STREAM)
    except OSError:
        return address
    return found[0][4]


def _bound(address: Any, cfg: Any, log: Any) -> Any:
    if isinstance(address, tuple):
        listen.refuse_taken(address)
    elif isinstance(address, str) and _somebody_answers(address):
        raise AddressTakenError(f"unix:{address} is taken by another process")
    try:
        return sock._sock_type(address)(address, cfg, log)  # noqa: SLF001 - as create_sockets does
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(
            f"bind={address!r}: expected an address to listen at ({error})"
        ) from None


def _somebody_answers(path: str) -> bool:
    with contextlib.suppress(OSError):
        if not path.startswith("\0") and not stat.S_ISSOCK(Path(path).stat().st_mode):
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            probe.connect(path)
            return True
    return False

"""The sockets that a new configuration listens at: bound before any old one is closed."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Sequence
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
                listener = _bound(address, cfg, log, current)
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


def names(listeners: Sequence[Any]) -> list[str]:
    """Where they really listen, as BIND would say it; a systemd socket may be anywhere."""
    return [_name(listener.getsockname()) for listener in listeners]


def _name(address: Any) -> str:
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    path = os.fsdecode(address)
    return f"unix:@{path[1:]}" if path.startswith("\0") else f"unix:{path}"


def _key(address: object) -> object:
    """The same for two spellings of one address."""
    if isinstance(address, str) and not address.startswith("\0"):
        return os.path.realpath(address)
    if not isinstance(address, tuple):
        return address
    try:
        found = socket.getaddrinfo(address[0], address[1], type=socket.SOCK_STREAM)
    except OSError:
        return address
    return found[0][4]


def _bound(address: Any, cfg: Any, log: Any, current: Sequence[Any]) -> Any:
    if isinstance(address, tuple):
        ports = {each.cfg_addr[1] for each in current if isinstance(each.cfg_addr, tuple)}
        if address[1] in ports:
            raise AddressTakenError(
                f"bind={address[0]}:{address[1]}: the port is in use at another address of ours; "
                "another address at the same port needs a restart"
            )
        listen.refuse_taken(address)
    elif isinstance(address, str) and _is_held(address):
        raise AddressTakenError(f"unix:{address} is taken by another process")
    umask = os.umask(0o022)
    os.umask(umask)
    try:
        return sock._sock_type(address)(address, cfg, log)  # noqa: SLF001 - as create_sockets does
    except (OSError, ValueError, TypeError) as error:
        os.umask(umask)  # Gunicorn's bind puts it back only when it has succeeded
        raise SettingsError(
            f"bind={address!r}: expected an address to listen at ({error})"
        ) from None


def _is_held(path: str) -> bool:
    """Whether a Unix socket is somebody's; only one that refuses is left over."""
    if not path.startswith("\0") and not os.path.lexists(path):
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError as error:
            # Not a socket at all is Gunicorn's to refuse; anything else means that it is alive.
            return error.errno != errno.ENOTSOCK
    return True

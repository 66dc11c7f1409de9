"""What a WSGI environ says of server and peer: the same for all requests of one connection."""

from __future__ import annotations

import os
from typing import Any

from gunicorn.http.message import _ip_in_allow_list
from gunicorn.http.wsgi import WSGIErrorsWrapper, base_environ

from deploy.cluster.adaptive.connection import Connection
from deploy.cluster.adaptive.head import Template

_KNOWN_MOST = 1024
_PORTS = {"http": "80", "https": "443"}


def server_of(path: str, host: str | None, scheme: str) -> tuple[str, str]:
    """SERVER_NAME and SERVER_PORT behind a Unix socket: as Gunicorn takes them from Host."""
    parts = path.split(":")
    if len(parts) == 1 and host:
        parts = host.split(":")
        if len(parts) == 1:
            parts.append(_PORTS.get(scheme, ""))
    return parts[0], parts[1] if len(parts) > 1 else ""


class _Errors(WSGIErrorsWrapper):
    """Writes to the log's files of the moment, which a rotation replaces."""

    def __init__(self, cfg: Any):
        self._cfg = cfg

    def write(self, data: str) -> None:
        WSGIErrorsWrapper(self._cfg).write(data)


class Origin:
    """Read once from the configuration, and from the variable SCRIPT_NAME."""

    def __init__(self, cfg: Any):
        self.script_name = os.environ.get("SCRIPT_NAME", "")
        self._cfg = cfg
        self._trusted: dict[str, bool] = {}
        self._environ = base_environ(cfg) | {
            "wsgi.errors": _Errors(cfg),
            "wsgi.multithread": True,
            "wsgi.url_scheme": "https" if cfg.is_ssl else "http",
            "SCRIPT_NAME": self.script_name,
        }

    def describe(self, connection: Connection) -> None:
        """Fills in what all requests of the connection have in common."""
        peer, server = connection.peer, connection.server
        environ = self._environ | {"gunicorn.socket": connection.sock}
        if isinstance(peer, tuple):
            environ |= {"REMOTE_ADDR": peer[0], "REMOTE_PORT": str(peer[1])}
            connection.trusted = self._trusts(peer[0])
        else:
            environ["REMOTE_ADDR"] = peer if isinstance(peer, str) else peer.decode()
            connection.trusted = True
        if isinstance(server, tuple):
            environ |= {"SERVER_NAME": server[0], "SERVER_PORT": str(server[1])}
        connection.template = Template(environ)

    def _trusts(self, address: str) -> bool:
        known = self._trusted.get(address)
        if known is None:
            if len(self._trusted) >= _KNOWN_MOST:
                self._trusted.clear()
            cfg = self._cfg
            known = self._trusted[address] = _ip_in_allow_list(
                address, cfg.forwarded_allow_ips, cfg.forwarded_allow_networks()
            )
        return known

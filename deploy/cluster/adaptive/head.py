"""The head of a usual request, read at once; whatever is unusual is left to Gunicorn's parser.

What is accepted here is a strict part of what Gunicorn 27 accepts (its http/message.py, after RFC
9110 and 9112), with the same meaning. So nothing needs to be refused here: what does not fit, for
good or ill, is unusual. For three headers this takes as long as the C parser gunicorn_h1c, and it
needs no compiler where it is installed.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any
from urllib.parse import unquote_to_bytes

from gunicorn.http.message import (
    DEFAULT_MAX_HEADERFIELD_SIZE,
    MAX_HEADERS,
    MAX_REQUEST_LINE,
)

# An origin-form target without a fragment; "//" has rules of its own, and so has CONNECT.
_REQUEST_LINE = re.compile(r"(?!CONNECT )([A-Z]{3,20}) (/(?!/)[!\"$-~]*) HTTP/1\.([01])")
_NAME = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z-]+")  # a token without "_", which header_map is for
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# They change what follows the head, or who reads it.
_UNUSUAL = {"EXPECT", "TRANSFER-ENCODING", "UPGRADE", "HTTP2-SETTINGS", "TRAILER"}
_KNOWN_MOST = 1024  # names of headers; clients make them up
_PROTOCOLS = {"0": "HTTP/1.0", "1": "HTTP/1.1"}

Environ = dict[str, Any]


class Template:
    """What the requests of one connection have in common.

    That is what the kit knows of it, and most often all fields: a client repeats them with each
    request, byte for byte.
    """

    __slots__ = ("environ", "fields", "known")

    def __init__(self, environ: Environ):
        self.environ = environ
        self.fields: bytes | None = None  # of the last request
        self.known = environ  # with these fields


class Reading(Enum):
    """Why there is no request yet."""

    INCOMPLETE = 0  # the head has not ended
    UNUSUAL = 1


class HeadParser:
    """Reads heads by the limits of a Gunicorn configuration."""

    def __init__(self, cfg: Any, *, script_name: str):
        self._script_name = script_name
        line = cfg.limit_request_line
        self.line_most = MAX_REQUEST_LINE if line <= 0 else min(line, MAX_REQUEST_LINE)
        size = cfg.limit_request_field_size
        # No field of a head that is shorter can be longer.
        self._head_most = DEFAULT_MAX_HEADERFIELD_SIZE if size <= 0 else size
        fields = cfg.limit_request_fields
        self._fields_most = fields if 0 < fields <= MAX_HEADERS else MAX_HEADERS
        # As Gunicorn's Message has it, for a head that does not end.
        self.head_buffered_most = self._fields_most * (self._head_most + 2) + 4
        self._schemes = {
            "HTTP_" + name.replace("-", "_"): value
            for name, value in cfg.secure_scheme_headers.items()
        }
        self._keys: dict[str, str] = {}  # by the header's name as it came; empty: unusual

    def read(
        self, data: bytes, template: Template, *, trusted: bool
    ) -> tuple[Environ, int] | Reading:
        """The environ made of `template` and the head, and where the head ends in `data`.

        `trusted`: whether the peer may say which scheme its client used.
        """
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return Reading.INCOMPLETE
        if end > self._head_most:
            return Reading.UNUSUAL
        first_end = data.find(b"\r\n")
        line = _REQUEST_LINE.fullmatch(str(data[:first_end], "latin-1"))
        if line is None or first_end > self.line_most:
            return Reading.UNUSUAL
        fields = data[first_end:end]
        if fields != template.fields:
            known = self._read_fields(fields, template.environ.copy(), trusted=trusted)
            if known is None:
                return Reading.UNUSUAL
            template.fields, template.known = fields, known
        environ = template.known.copy()
        method, uri, minor = line.groups()
        path, _, query = uri.partition("?")
        environ["REQUEST_METHOD"] = method
        environ["RAW_URI"] = uri
        environ["QUERY_STRING"] = query
        environ["SERVER_PROTOCOL"] = _PROTOCOLS[minor]
        if self._script_name:
            if not path.startswith(self._script_name):
                return Reading.UNUSUAL
            path = path[len(self._script_name) :]
        environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1") if "%" in path else path
        return environ, end + 4

    def _read_fields(self, fields: bytes, environ: Environ, *, trusted: bool) -> Environ | None:
        """The environ with the fields, each behind the end of a line; None where one is unusual."""
        lines = str(fields, "latin-1").split("\r\n")[1:]
        if len(lines) > self._fields_most:
            return None
        keys = self._keys
        for field in lines:
            name, colon, value = field.partition(":")
            key = keys.get(name) or self._learn(name)
            value = value.strip(" \t")
            if not (key and colon) or key in environ:
                return None
            if not value.isprintable() and _CONTROL.search(value):
                return None
            environ[key] = value
        if trusted and not self._see_scheme(environ):
            return None
        return environ

    def _learn(self, name: str) -> str:
        if not _NAME.fullmatch(name) or name.upper() in _UNUSUAL:
            return ""
        upper = name.upper().replace("-", "_")
        key = upper if upper in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + upper
        if len(self._keys) >= _KNOWN_MOST:
            self._keys.clear()
        self._keys[name] = key
        return key

    def _see_scheme(self, environ: Environ) -> bool:
        """Sets the scheme that a proxy names; False when it names several."""
        found = [key for key in self._schemes if key in environ]
        for key in found:
            secure = environ[key] == self._schemes[key]
            environ["wsgi.url_scheme"] = "https" if secure else "http"
        return len(found) < 2

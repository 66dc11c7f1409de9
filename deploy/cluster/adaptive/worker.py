"""`WORKER_CLASS=adaptive`: Gunicorn's gthread worker with a loop of the kit's.

gthread hands each request from the thread that polls to one of a pool, and the two fight for the
interpreter's lock across cores. Here the thread that polls runs the request itself, and another one
takes over polling only when that takes long. Everything unusual (bodies in chunks or large ones,
Expect, upgrades, TLS, the proxy protocol, HTTP/2, malformed requests) runs through gthread's code.
"""

from __future__ import annotations

import errno
import signal
import ssl
import time
from datetime import timedelta
from typing import Any

from gunicorn.http.errors import NoMoreData
from gunicorn.workers.base import Worker
from gunicorn.workers.gthread import TConn, ThreadWorker

from deploy.cluster.adaptive.answer import Answer, Dated, Hold
from deploy.cluster.adaptive.connection import Connection
from deploy.cluster.adaptive.head import Environ
from deploy.cluster.adaptive.loop import Loop
from deploy.cluster.adaptive.request import UsualRequest
from deploy.cluster.adaptive.turn import Turn

_NOTIFY_SECONDS = 1.0  # as gthread: how often the master hears of a worker
_DRAIN_LOOK_SECONDS = 0.002
_STOP_SECONDS = 0.2  # for threads that wait; who is in a request ends with the process
_QUIET = {
    errno.EPIPE: "Ignoring connection epipe",
    errno.ECONNRESET: "Ignoring connection reset",
    errno.ENOTCONN: "Ignoring socket not connected",
}


class AdaptiveWorker(ThreadWorker):
    """The main thread watches; THREADS others lead, follow or are busy."""

    loop: Loop
    alive: bool
    _accepting: bool

    def init_process(self) -> None:
        """As gthread's, without its pool and its poller."""
        self._ended_by: BaseException | None = None
        self._dated = Dated()
        Worker.init_process(self)

    def run(self) -> None:
        """Until it is asked to leave, or its master is gone; then until it has answered."""
        cfg = self.cfg
        self._pre_request, self._post_request = cfg.pre_request, cfg.post_request
        self._logged = self.log.access_log_enabled
        turn = Turn(getattr(self, "seat", None), workers=cfg.workers)
        self.loop = Loop(self, turn, reads=_is_plain_http(cfg))
        threads = self.loop.threads
        threads.start()
        self.set_accept_enabled(enabled=True)
        while self.alive and self.is_parent_alive():
            self.notify()
            threads.watch(seconds=_NOTIFY_SECONDS)
        self.alive = False
        self._end_if_told()
        self.set_accept_enabled(enabled=False)
        self._drain()
        self.loop.stop(seconds=_STOP_SECONDS)
        for listener in self.sockets:
            listener.close()

    def _drain(self) -> None:
        deadline = time.monotonic() + self.cfg.graceful_timeout
        self.loop.clients.drain()
        while len(self.loop.clients) and time.monotonic() < deadline:
            self.notify()
            self.loop.threads.watch(seconds=_DRAIN_LOOK_SECONDS)
            self._end_if_told()

    def set_accept_enabled(self, enabled: bool) -> None:
        """Starts and ends to accept; asking twice is harmless."""
        if enabled == self._accepting:
            return
        for listener in self.sockets:
            if enabled:
                self.loop.clients.listen(listener)
            else:
                self.loop.clients.ignore(listener)
        self._accepting = enabled

    def accept(self, listener: Any) -> None:
        """One waiting connection, for who empties a listener's queue."""
        self.loop.clients.accept(listener)

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ARG002 - Gunicorn's signature
        """TERM: the watcher looks up and begins to drain."""
        self.alive = False
        if hasattr(self, "loop"):
            self.loop.threads.wake_watcher()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """QUIT and INT: at once."""
        Worker.handle_quit(self, sig, frame)

    # --- on the thread that answers

    def answer(
        self,
        connection: Connection,
        environ: Environ,
        data: bytes,
        now: float,
        hold: Hold | None,
    ) -> bool:
        """A usual request's answer, as `ThreadWorker.handle` and `handle_request` give it."""
        request = UsualRequest(self.cfg, environ, data, connection.peer)
        try:
            return self._run_application(connection, request, environ, now, hold)
        except Exception as error:
            try:
                self._tell(connection, request, error)
            except Exception:
                self.log.exception("Error handling request")
        except BaseException as error:
            self.end(error)
        return False

    def _tell(self, connection: Connection, request: UsualRequest, error: Exception) -> None:
        """The client, the log or nobody, as `ThreadWorker.handle` does."""
        log = self.log
        if isinstance(error, NoMoreData):
            log.debug("Ignored premature client disconnection. %s", error)
        elif isinstance(error, StopIteration):
            log.debug("Closing connection. %s", error)
        elif isinstance(error, ssl.SSLError) and error.args[0] == ssl.SSL_ERROR_EOF:
            log.debug("ssl connection closed")
        elif isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
            if self.loop.sending.first(connection):
                self.handle_error(request, connection.sock, connection.peer, error)
        elif error.errno in _QUIET:
            log.debug(_QUIET[error.errno])
        else:
            log.error("Socket error processing request.", exc_info=error)

    def _run_application(
        self,
        connection: Connection,
        request: UsualRequest,
        environ: Environ,
        now: float,
        hold: Hold | None,
    ) -> bool:
        answer: Answer | None = None
        try:
            self._pre_request(self, request)
            answer = Answer(request, connection, self.cfg, self._dated, now, hold)
            environ["wsgi.early_hints"] = answer.send_early_hints
            self.nr += 1
            if self.nr >= self.max_requests and self.alive:
                self.log.info("Autorestarting worker after current request.")
                self.alive = False
            if not self.alive or not self.cfg.keepalive:
                answer.force_close()
            items = self.wsgi(environ, answer.start_response)
            try:
                if isinstance(items, environ["wsgi.file_wrapper"]):
                    answer.write_file(items)
                else:
                    for item in items:
                        answer.write(item)
                answer.close()
            finally:
                if self._logged:
                    seconds = time.monotonic() - now
                    self.log.access(answer, request, environ, timedelta(seconds=seconds))
                if hasattr(items, "close"):
                    items.close()
            return not answer.should_close()
        except OSError:
            raise
        except (Exception, SystemExit):
            if answer is not None and answer.headers_sent:
                # A second answer behind half of the first one would only confuse.
                self.log.exception("Error handling request")
                raise StopIteration from None
            raise
        finally:
            try:
                self._post_request(self, request, environ, answer)
            except Exception:
                self.log.exception("Exception in post_request hook")

    def answer_as_gunicorn(self, connection: Connection, data: bytes) -> bool:
        """Any other request, by Gunicorn's code."""
        gunicorn = connection.gunicorn
        try:
            if gunicorn is None:
                gunicorn = TConn(self.cfg, connection.sock, connection.peer, connection.server)
                gunicorn.data_ready = True
                if data:
                    gunicorn.init()
                    gunicorn.parser.unreader.unread(data)
                else:
                    connection.gunicorn = gunicorn
            keep = bool(self.handle(gunicorn))
        except BaseException as error:
            self.end(error)
            return False
        connection.sock = gunicorn.sock  # TLS has wrapped it
        if keep:
            unreader = gunicorn.parser.unreader
            # Where Gunicorn reads from the first byte on, what it has read ahead stays with it.
            connection.buffer = unreader.take_buffered() if data else unreader.buf.getvalue()
        return keep

    def refuse(self, connection: Connection, error: Exception) -> None:
        """As `ThreadWorker.handle` does it for what its parser raises."""
        self.handle_error(None, connection.sock, connection.peer, error)

    def end(self, error: BaseException) -> None:
        """What is no error of a request ends the worker, as it does under gthread."""
        if isinstance(error, Exception):
            self.log.error("The worker's loop has failed", exc_info=error)
        self._ended_by = error
        self.handle_exit(signal.SIGTERM, None)

    def _end_if_told(self) -> None:
        if self._ended_by is not None:
            raise self._ended_by


def _is_plain_http(cfg: Any) -> bool:
    """Whether the loop can read what comes in: else it is for Gunicorn from the first byte on."""
    knows_h2 = cfg.http2_cleartext in ("prior-knowledge", "both") and "h2" in cfg.http_protocols
    return (
        not cfg.is_ssl
        and cfg.proxy_protocol == "off"
        and getattr(cfg, "protocol", "http") == "http"
        and not knows_h2
    )

"""A WSGI application that is not ours: the kit must serve any."""

import json
import logging
import os
import time
from wsgiref.types import StartResponse, WSGIEnvironment

log = logging.getLogger("plain")


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    path = environ["PATH_INFO"]
    if path == "/boom":
        raise RuntimeError("this application breaks when asked to")
    if path == "/log":
        log.warning("a line of the application's, password=hunter2")
    elif path == "/sleep":
        time.sleep(float(environ["QUERY_STRING"] or 1))
    elif path == "/gate":
        while os.path.exists(environ["QUERY_STRING"]):  # noqa: PTH110
            time.sleep(0.01)
    elif path.startswith("/exit/"):
        os._exit(int(path.rpartition("/")[2]))
    names = ("WORKER_ID", "WORKER_SLOT", "RELEASE", "CLUSTER_WORKERS", "FROM_FILE", "FROM_BOTH")
    body = json.dumps({"pid": os.getpid(), **{name: os.environ.get(name) for name in names}})
    start_response(
        "200 OK",
        [("Content-Type", "application/json"), ("X-Request-ID", "request-of-plain")],
    )
    return [body.encode(), b"\n"]

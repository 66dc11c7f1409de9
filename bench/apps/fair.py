"""Tells which worker answered: at once, or after the work of a request that asks a database."""

import os
import time
from wsgiref.types import StartResponse, WSGIEnvironment

CPU, WAIT = 0.001, 0.004  # seconds of `/work`


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    if environ["PATH_INFO"] == "/work":
        until = time.thread_time() + CPU
        while time.thread_time() < until:
            pass
        time.sleep(WAIT)
    body = b"%10d" % os.getpid()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10")])
    return [body]

"""Gunicorn's configuration: values from the environment, hooks from the kit.

Started as `gunicorn -c gunicorn.conf.py [module:callable]`. What each variable means is in the
README's table; an argument of gunicorn's own command line wins over all of them. Gunicorn reads
this file again at every reload (HUP), so it keeps no state; and it never imports the application,
which would be served stale after a reload.
"""

import os
import sys
from pathlib import Path

# The kit is found beside this file, also when Gunicorn was started from elsewhere.
_kit = str(Path(__file__).resolve().parent)
if _kit not in sys.path:
    sys.path.append(_kit)

from gunicorn import util  # noqa: E402

from deploy.cluster import affinity, hooks  # noqa: E402
from deploy.cluster.hooks import (  # noqa: E402, F401
    nworkers_changed,
    on_exit,
    post_request,
    pre_request,
    when_ready,
    worker_abort,
    worker_exit,
    worker_int,
)
from deploy.cluster.logging import ClusterLogger  # noqa: E402
from deploy.cluster.pidfile import discard_stale  # noqa: E402
from deploy.cluster.settings import SettingsError, load  # noqa: E402

try:
    _settings = load(os.environ)
except SettingsError as error:
    print(f"smart-factory: {error}", file=sys.stderr)
    sys.exit(error.exit_code)

# Before Gunicorn goes to --chdir: what the command line says is relative to here.
_directory = util.getcwd()

proc_name = "smart-factory"
wsgi_app = _settings.wsgi_app
bind = list(_settings.bind)
workers = _settings.workers
worker_class = _settings.gunicorn_worker_class
threads = _settings.threads
keepalive = 5  # seconds; above the pause between two requests of a page

timeout = _settings.request_timeout
graceful_timeout = _settings.graceful_timeout
max_requests = _settings.max_requests
max_requests_jitter = _settings.max_requests // 10  # never all workers at once

pidfile = str(_settings.runtime_directory / "gunicorn.pid")
discard_stale(Path(pidfile))
# Gunicorn's control socket forks from a master with threads, and `smart-factory` replaces it.
control_socket_disable = True
# The heartbeat touches a file each second: in memory, it never waits for a busy disk.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108

logger_class = ClusterLogger
loglevel = _settings.log_level
accesslog = "-"
errorlog = "-"

raw_env = [f"{name}={value}" for name, value in _settings.exported().items()]


def post_fork(server, worker):
    """The worker's first act."""
    if _settings.worker_affinity == "cpu":
        affinity.settle(worker.slot, worker.log)
    hooks.post_fork(server, worker)


def on_starting(server):
    """Before anything else; outside production our own application's migrations are applied."""
    prepare = [sys.executable, "-m", "app.db", "migrate"]
    hooks.on_starting(server, _settings, directory=_directory, prepare=prepare)

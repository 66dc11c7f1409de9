"""Plain Gunicorn for smart-factory-bare.service: what everybody runs, and nothing of the kit."""

import os

wsgi_app = os.environ.get("WSGI_APP") or "app.wsgi:app"
workers = 1
worker_class = "gthread"
threads = 4
keepalive = 5
timeout = 30
graceful_timeout = 10
accesslog = "-"
# Below the home directory by default, and the service has none.
control_socket_disable = True
worker_tmp_dir = "/dev/shm"  # noqa: S108 - touched each second: never waits for a busy disk

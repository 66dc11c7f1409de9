"""Our kit as a peer: started as an operator starts it, without the access log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.peers.commands import THREADS
from bench.peers.server import APP, Server, Stand, tree
from tests.cluster import ROOT, Cluster

WORKER_CLASS = "adaptive"


@contextmanager
def serving(stand: Stand, *, affinity: str = "none") -> Iterator[Server]:
    """Runs a cluster of the kit until the `with` block ends; `affinity` is WORKER_AFFINITY."""
    config = stand.directory / "gunicorn.conf.py"
    config.write_text((ROOT / "gunicorn.conf.py").read_text() + "\naccesslog = None\n")
    cluster = Cluster(
        stand.directory,
        APP,
        config=config,
        program=(stand.python, "-m", "gunicorn"),
        env={
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": stand.database_url,
            "CLUSTER_WORKERS": str(stand.processes),
            "WORKER_CLASS": WORKER_CLASS,
            "WORKER_AFFINITY": affinity,
            "THREADS": str(THREADS),
            "APP_ENV": "production",
        },
    )
    with cluster:
        pid = cluster.pid
        yield Server(port=cluster.port, processes=lambda: tree(pid))

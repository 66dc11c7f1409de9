"""What would break the kit's promises: settings it refuses, and a Gunicorn it does not know."""

from __future__ import annotations

from typing import Any

from gunicorn import arbiter, sock
from gunicorn.workers.base import Worker

from deploy.cluster.settings import SettingsError

# Setting: what it would break, and what to use instead.
_REFUSED = {
    "preload_app": "the workers would keep serving the old code after a reload; "
    "use CLUSTER_PRELOAD=mold, which loads the application once and again at each reload",
    "reuse_port": "connections are lost when a worker leaves; "
    "leave it off: all workers accept from one queue",
    "reload": "it restarts workers without a look at the new code; "
    "use kill -HUP or `smart-factory reload`, which keep the old workers when the code is broken",
}
# What the kit overrides, calls or replaces of Gunicorn.
_NEEDED = {
    arbiter.Arbiter: (
        *("start", "run", "init_signals", "wait_for_signals", "handle_hup", "handle_ttin"),
        *("handle_ttou", "handle_term", "handle_int", "handle_quit", "handle_usr1", "handle_winch"),
        *("manage_workers", "murder_workers", "reap_workers", "kill_worker", "kill_workers"),
        *("spawn_worker", "reload", "stop", "halt", "reexec", "setup", "handle_chld"),
        *("kill_dirty_arbiter", "handle_dirty_arbiter_exit"),
    ),
    Worker: ("init_process", "run", "notify", "handle_abort", "handle_exit", "handle_quit"),
    sock: ("_sock_type", "close_sockets"),
}


def refuse(cfg: Any) -> None:
    """Raises SettingsError for a setting that breaks a promise."""
    for name, why in _REFUSED.items():
        if cfg.settings[name].get():
            raise SettingsError(f"{name}=True: expected False ({why})")


def missing() -> list[str]:
    """What this Gunicorn lacks of what the kit builds on; empty when it will do."""
    return [
        f"{owner.__name__}.{name}"
        for owner, names in _NEEDED.items()
        for name in names
        if not hasattr(owner, name)
    ]

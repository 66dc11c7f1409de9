"""One release as it was configured at one moment; each reload makes a new one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gunicorn.config import DefaultProcName

from deploy.cluster.launch import Launch
from deploy.cluster.settings import Settings

# Where master and operator meet, and who the master is: these hold until the next start.
_UNTIL_RESTART = ("pidfile", "daemon", "user", "group", "worker_tmp_dir", "chdir", "config")


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What the workers of one mold are configured to be."""

    number: int
    settings: Settings
    config: Mapping[str, Any]  # Gunicorn's settings that are data
    launch: Launch  # starts the same release again, wherever `current` leads by then

    @property
    def release(self) -> str:
        """Its name."""
        return self.settings.release

    @property
    def application(self) -> str:
        """What it serves, as module:callable: Gunicorn's positional argument, else WSGI_APP."""
        # Gunicorn keeps the argument where a process's title would come from.
        named = str(self.config["default_proc_name"])
        return str(self.config["wsgi_app"]) if named == DefaultProcName.default else named

    def configure(self, cfg: Any) -> Any:
        """A copy of the master's configuration `cfg` with this generation's values.

        The mold's Gunicorn has validated them. Hooks and classes stay the master's, and so does
        what only a restart can change.
        """
        adopted = copy.copy(cfg)
        # Config forbids to set what it takes for a setting, but this name is its own.
        adopted.__dict__["settings"] = {n: copy.copy(s) for n, s in cfg.settings.items()}
        for name, value in self.config.items():
            if name in adopted.settings and name not in _UNTIL_RESTART:
                adopted.settings[name].value = value
        return adopted

"""Which consumers there are, and what each needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.config import Config, ConfigError
from app.consumers.admin_service import AdminService
from app.consumers.allocation import Allocation
from app.consumers.cache import Cache
from app.consumers.purchase import Purchase
from app.consumers.session import Session
from app.events.handler import Handler
from app.events.topics import TOPICS

_HANDLERS: tuple[type[Handler[Any]], ...] = (Purchase, Allocation, Session, Cache)
NAMES = tuple(handler.name for handler in _HANDLERS)
GROUP_OF = {handler.name: handler.group for handler in _HANDLERS}
TOPIC_OF = {handler.name: TOPICS[handler.type] for handler in _HANDLERS}
GROUPS: Mapping[str, str] = {handler.group: TOPICS[handler.type] for handler in _HANDLERS}


def handler(name: str, config: Config) -> Handler[Any]:
    """The consumer of that name; raises ConfigError when it misses something."""
    match name:
        case "purchase":
            return Purchase()
        case "allocation":
            if config.admin_service_url is None:
                raise ConfigError(
                    "ADMIN_SERVICE_URL: required by the consumer allocation; for development, "
                    "python -m app.consumers.admin_stub stands in"
                )
            return Allocation(admin=AdminService(url=config.admin_service_url))
        case "session":
            return Session()
        case "cache":
            return Cache(redis_url=config.redis_url)
    raise ConfigError(f"consumer {name!r}: expected one of {', '.join(NAMES)}")

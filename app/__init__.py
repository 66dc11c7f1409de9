"""smart-factory's reference application: a Flask application for any WSGI server."""

from __future__ import annotations

import logging
import os
from typing import Any

from flask import Flask
from flask_cors import CORS
from werkzeug.middleware.proxy_fix import ProxyFix

from app import errors, passwords, request_context
from app.accounts import Accounts
from app.config import Config
from app.credentials import Credentials
from app.db import Database, development
from app.login_limits import LoginLimits
from app.payments import Payments
from app.realtime import Hub
from app.sessions import PostgresSessionInterface, SessionStore
from app.web import (
    auth,
    headers,
    health,
    issuance,
    openapi,
    origin,
    payments,
    preferences,
    realtime,
    status,
)

__version__ = "0.1.0"

_MAX_BODY = 1024 * 1024  # bytes


def create_app(config: Config | None = None) -> Flask:
    """The application, from the environment unless configured; raises ConfigError.

    It opens no thread, socket or connection: it may be created once and forked.
    """
    config = config or Config.read(os.environ)
    app = Flask(__name__, static_folder=None)
    app.config.from_mapping(_settings(config))
    app.json.sort_keys = False  # type: ignore[attr-defined] # answers read as they are written
    _prepare_logging(app)
    passwords.prepare()
    request_context.install(app)
    headers.install(app, production=config.production)
    errors.install(app)
    origin.install(app, config.cors_origins)
    if config.trusted_proxies:
        _trust_proxies(app, config.trusted_proxies)
    database = Database(
        url=config.database_url,
        pool_max=config.database_pool_max,
        # In production a release migrates, once and watched; elsewhere whoever comes first.
        prepare=None if config.production else development.migrate,
    )
    sessions = PostgresSessionInterface(app, store=SessionStore(database=database))
    app.session_interface = sessions
    app.extensions["database"] = database
    app.register_blueprint(health.blueprint(config=config, database=database))
    app.register_blueprint(status.blueprint(config=config, version=__version__))
    app.register_blueprint(
        auth.blueprint(
            accounts=Accounts(database=database),
            sessions=sessions,
            limits=LoginLimits(database=database),
        )
    )
    app.register_blueprint(preferences.blueprint())
    app.register_blueprint(
        issuance.blueprint(
            credentials=Credentials(database=database), internal_token=config.internal_token
        )
    )
    app.register_blueprint(payments.blueprint(payments=Payments(database=database)))
    app.register_blueprint(openapi.blueprint(app=app, config=config, version=__version__))
    hub = Hub(url=config.database_url, max_clients=config.realtime_max_clients)
    app.extensions["realtime"] = hub
    app.register_blueprint(realtime.blueprint(config=config, hub=hub))
    if config.cors_origins:
        CORS(
            app,
            origins=list(config.cors_origins),
            supports_credentials=True,
            expose_headers=[request_context.REQUEST_ID, request_context.WORKER_ID],
            always_send=False,  # who sends no Origin needs no list of ours
            max_age=600,  # seconds that a browser may keep the answer to a preflight
        )
    return app


def _settings(config: Config) -> dict[str, Any]:
    secure = config.production
    return {
        "SECRET_KEY": config.secret_key,
        "MAX_CONTENT_LENGTH": _MAX_BODY,
        # An unexpected exception is a JSON 500 everywhere, also under test and debug.
        "PROPAGATE_EXCEPTIONS": False,
        # __Host-: browsers take it only with Secure, Path=/ and no Domain, so that no neighbouring
        # subdomain can plant one. Without TLS, in development, they would not take it at all.
        "SESSION_COOKIE_NAME": "__Host-session" if secure else "session",
        "SESSION_COOKIE_SECURE": secure,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_PATH": "/",
    }


def _trust_proxies(app: Flask, count: int) -> None:
    """The client is whom the outermost of `count` proxies saw, not who connected to us.

    Each proxy appends to X-Forwarded-For; X-Forwarded-Proto is usually replaced, hence the last.
    X-Forwarded-Host is never believed: where a proxy does not set it, the client does.
    """
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=1)  # type: ignore[method-assign]


def _prepare_logging(app: Flask) -> None:
    """Our lines appear under every server: Flask adds a handler when nobody else has."""
    if app.logger.level == logging.NOTSET:
        app.logger.setLevel(logging.INFO)
    pool = logging.getLogger("psycopg.pool")
    if pool.level == logging.NOTSET:
        pool.setLevel(logging.WARNING)  # it reports every loan of a connection at INFO

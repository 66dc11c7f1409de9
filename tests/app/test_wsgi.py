from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]} | environ,
    )


def test_importing_the_application_opens_nothing() -> None:
    code = """
        import os, sys, threading
        opened = []
        sys.addaudithook(lambda event, _: opened.append(event) if event in
                         ("socket.__new__", "socket.connect", "_thread.start_new_thread",
                          "_thread.start_joinable_thread") else None)
        before = set(os.listdir("/proc/self/fd"))
        import app.wsgi
        assert callable(app.wsgi.app)
        assert opened == [], opened
        assert threading.active_count() == 1
        assert set(os.listdir("/proc/self/fd")) <= before
        assert not {"deploy", "gunicorn"} & set(sys.modules)
        print("ok")
    """
    done = python(code, DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


def test_a_wrong_configuration_stops_the_import() -> None:
    done = python("import app.wsgi", APP_ENV="production")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("app.config.ConfigError: SECRET_KEY: required in production")


def test_our_log_lines_appear_under_a_server_that_configures_none() -> None:
    code = """
        import logging
        import app
        application = app.create_app()
        logging.getLogger("app.db.database").info("hello")
    """
    done = python(code)
    assert done.stderr.count("hello") == 1
    assert "INFO" in done.stderr


def test_our_log_lines_appear_once_where_logging_is_configured() -> None:
    code = """
        import logging, sys
        logging.basicConfig(level="INFO", stream=sys.stdout, format="%(name)s %(message)s")
        import app
        application = app.create_app()
        app.create_app()
        logging.getLogger("app.db.database").info("hello")
    """
    done = python(code)
    assert (done.stdout, done.stderr) == ("app.db.database hello\n", "")

"""An application as they grow: three seconds to import, 100 MB of objects."""

import time
from wsgiref.types import StartResponse, WSGIEnvironment

IMPORT_SECONDS = 3
time.sleep(IMPORT_SECONDS)
# As many objects as real ones hold: small, and each with a count of references.
HELD = [[bytes([i % 256]) * 900] for i in range(100_000)]


def app(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [HELD[7][0][:2]]

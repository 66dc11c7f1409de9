"""A client of tests/integration/apps/visits.py that keeps its cookie, and may be held at a gate."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.cluster import Answer, Cluster
from tests.wait import wait_until


class Visitor:
    """Sends requests with one session's cookie; what an answer sets becomes the cookie."""

    def __init__(self, cluster: Cluster, token: str | None = None):
        self._cluster = cluster
        self.token = token

    def send(self, method: str, path: str, body: object = None) -> Answer:
        """One request, to whichever worker takes it; its answer's cookie is kept."""
        headers = {} if self.token is None else {"Cookie": f"session={self.token}"}
        answer = self._cluster.request(method, path, body=body, headers=headers, timeout=30)
        if (cookie := answer.headers.get("Set-Cookie")) is not None:
            self.token = cookie.partition(";")[0].partition("=")[2]
        return answer

    def post(self, path: str, body: object = None) -> Answer:
        """Sends and expects success."""
        answer = self.send("POST", path, body)
        assert answer.status == 200, answer.body
        return answer

    def read(self) -> dict[str, object]:
        """What the session holds."""
        answer = self.send("GET", "/read")
        assert answer.status == 200, answer.body
        found: dict[str, object] = answer.json
        return found

    def twin(self) -> Visitor:
        """Another client with the same cookie: a second tab."""
        return Visitor(self._cluster, self.token)


class Held:
    """A request that has used its session and waits, unsaved, until `release`."""

    def __init__(self, visitor: Visitor, method: str, path: str, gate: Path, body: object = None):
        self.visitor = visitor.twin()
        self._gate = gate
        self._answer: list[Answer] = []
        self._thread = threading.Thread(
            target=self._send, args=(method, f"{path}?gate={gate}", body), daemon=True
        )
        self._thread.start()
        wait_until(lambda: gate.exists() and gate.read_text(), what=f"{path} at its gate")
        self.pid = int(gate.read_text())

    def _send(self, method: str, path: str, body: object) -> None:
        self._answer.append(self.visitor.send(method, path, body))

    def release(self) -> None:
        """Lets it go on to save."""
        self._gate.unlink()

    def answer(self) -> Answer:
        """Its answer, once it was released."""
        self._thread.join(20)
        assert self._answer, "the held request got no answer"
        return self._answer[0]

    def finish(self) -> Answer:
        """Lets it go on, and waits for the answer."""
        self.release()
        return self.answer()

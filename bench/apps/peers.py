"""One application for every Python server: thin, so that what differs is the server.

Express' side of the comparison, bench/peers/express/server.js, answers the same.
"""

import os
import time

from flask import Flask, Response, jsonify, request, session

from app import sessions

PAYLOAD = {"user_id": "4711", "cart": [{"sku": f"sku-{n}", "count": n} for n in range(8)]}
SLEEP = 0.02  # seconds: what a request waits for another service
LARGE = bytes(64 * 1024)

app = Flask(__name__)
sessions.install(app, os.environ["DATABASE_URL"])


@app.get("/json")
def small_json() -> Response:
    return jsonify(message="Hello, World!", ok=True)


@app.post("/login")
def login() -> Response:
    session.update(PAYLOAD)
    return jsonify(user=session["user_id"])


@app.get("/session")
def read() -> Response:
    return jsonify(user=session["user_id"])


@app.post("/session")
def change() -> Response:
    session["visits"] = session.get("visits", 0) + 1
    return jsonify(user=session["user_id"], visits=session["visits"])


@app.get("/sleep")
def sleep() -> Response:
    time.sleep(SLEEP)
    return jsonify(ok=True)


@app.get("/large")
def large() -> Response:
    return Response(LARGE, mimetype="application/octet-stream")


@app.post("/upload")
def upload() -> Response:
    return jsonify(length=len(request.get_data(cache=False)))

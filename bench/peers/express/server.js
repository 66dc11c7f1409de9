// The same as bench/apps/peers.py, as a team writes it in Express.
"use strict";

const express = require("express");
const session = require("express-session");
const connectPgSimple = require("connect-pg-simple");
const pg = require("pg");

const PAYLOAD = {
  user_id: "4711",
  cart: Array.from({ length: 8 }, (_, n) => ({ sku: `sku-${n}`, count: n })),
};
const SLEEP = 20; // milliseconds
const LARGE = Buffer.alloc(64 * 1024);

const app = express();
app.set("etag", false); // a hash of each answer: Flask makes none either
app.disable("x-powered-by");

// Where it is used and nowhere else: a route without it pays nothing, as with the other sessions.
const withSession = session({
  // The pool connects as PGHOST, PGUSER and PGDATABASE say.
  store: new (connectPgSimple(session))({ pool: new pg.Pool(), createTableIfMissing: true }),
  secret: process.env.SESSION_SECRET,
  resave: false,
  saveUninitialized: false,
});

function loggedIn(req, res, next) {
  if (req.session.user_id === undefined) {
    res.sendStatus(401);
  } else {
    next();
  }
}

app.get("/json", (req, res) => {
  res.json({ message: "Hello, World!", ok: true });
});

app.post("/login", withSession, (req, res) => {
  Object.assign(req.session, PAYLOAD);
  res.json({ user: req.session.user_id });
});

app.get("/session", withSession, loggedIn, (req, res) => {
  res.json({ user: req.session.user_id });
});

app.post("/session", withSession, loggedIn, (req, res) => {
  req.session.visits = (req.session.visits ?? 0) + 1;
  res.json({ user: req.session.user_id, visits: req.session.visits });
});

// Another thing than time.sleep: no thread waits meanwhile, only a timer.
app.get("/sleep", (req, res) => {
  setTimeout(() => res.json({ ok: true }), SLEEP);
});

app.get("/large", (req, res) => {
  res.type("application/octet-stream").send(LARGE);
});

app.post("/upload", express.raw({ type: () => true, limit: "2mb" }), (req, res) => {
  res.json({ length: req.body.length });
});

app.listen(Number(process.env.PORT), "127.0.0.1");

"""Messages between the WebSocket clients of all workers, through Postgres.

A worker's clients live on one thread beside the server's own: an open WebSocket costs none of the
threads that answer requests, and is no request any more.
"""

from app.realtime.hub import Hub
from app.realtime.room import Draining, Full

__all__ = ["Draining", "Full", "Hub"]

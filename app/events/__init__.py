"""What happened, told to whom it concerns: an envelope a fact, written with the fact."""

from app.events.envelope import Envelope, EnvelopeError

__all__ = ["Envelope", "EnvelopeError"]

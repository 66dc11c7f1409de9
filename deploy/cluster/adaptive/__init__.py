"""The kit's own worker class: short requests run on the thread that polls, long ones beside it."""

from deploy.cluster.adaptive.worker import AdaptiveWorker

__all__ = ["AdaptiveWorker"]

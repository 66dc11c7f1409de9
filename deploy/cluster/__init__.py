"""What runs inside Gunicorn's processes: configuration, hooks, slots and logging."""

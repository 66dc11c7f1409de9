"""smart-factory's kit: runs any WSGI application under Gunicorn, and knows nothing of ours."""

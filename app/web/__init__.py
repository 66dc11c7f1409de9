"""The endpoints, one blueprint a file; each is built from what it needs."""

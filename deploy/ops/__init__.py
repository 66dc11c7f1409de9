"""The operator's side: commands that read the cluster's state and act on it from outside."""

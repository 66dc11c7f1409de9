"""An application that does not load."""

raise RuntimeError("this application does not load")

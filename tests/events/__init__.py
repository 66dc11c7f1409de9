"""The event pipeline: real consumers as processes, on both buses, with faults injected."""

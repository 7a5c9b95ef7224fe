"""The process that owns a model and a device; imports nothing of the daemon. Runs on Python 3.9."""

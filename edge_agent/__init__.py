"""edge-agent: camera frames in, labels out, on a Raspberry Pi with or without a Coral stick."""

__version__ = "0.1.0"

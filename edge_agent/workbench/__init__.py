"""The workbench: measuring and, later, making models. Nothing in the daemon imports it."""

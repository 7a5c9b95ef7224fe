"""Installed bundles: whole, proven, and in a state that a power cut cannot break."""

from edge_agent.repository.disk import Disk
from edge_agent.repository.records import Probation, Rejection, State, Version
from edge_agent.repository.repository import Repository

__all__ = ["Disk", "Probation", "Rejection", "Repository", "State", "Version"]

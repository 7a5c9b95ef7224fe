"""The control socket: what the command line asks of the agent that runs on this machine.

docs/control.md tells the verbs, and what is asked and answered.
"""

from edge_agent.control_socket.client import ControlClient
from edge_agent.control_socket.server import ControlRequest, ControlServer
from edge_agent.control_socket.wire import Answer

__all__ = ["Answer", "ControlClient", "ControlRequest", "ControlServer"]

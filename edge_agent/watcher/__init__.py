"""What appeared under a watched path, told once it stands still.

:class:`Watcher` looks, in a thread of its own; :mod:`~edge_agent.watcher.settling` decides (pure);
:mod:`~edge_agent.watcher.fingerprints` tells one state of a file or folder from another without reading it.
"""

from edge_agent.watcher.drives import OnDrives
from edge_agent.watcher.fingerprints import Fingerprint, fingerprint
from edge_agent.watcher.inbox import candidates
from edge_agent.watcher.stillness import read_unchanged, wait_until_still
from edge_agent.watcher.watching import LOOK_EVERY_S, Watcher

__all__ = [
    "LOOK_EVERY_S",
    "Fingerprint",
    "OnDrives",
    "Watcher",
    "candidates",
    "fingerprint",
    "read_unchanged",
    "wait_until_still",
]

"""Edge TPUs: which there are, who may open one, and how the worker on it is started.

libedgetpu is asked in a child, for it may end the process that asks; and a device is opened only by whoever
holds its lock, for a second process on a stick ends the first one's.
"""

from edge_agent.edgetpu.devices import LIBRARY, Device, Listing, list_devices
from edge_agent.edgetpu.lock import DeviceLock, lock_folder
from edge_agent.edgetpu.settings import (
    MISFIT,
    EdgeTpuSettings,
    delegate_options,
    is_misfit,
    misfit,
    runtimes,
    worker_settings,
)
from edge_agent.edgetpu.taking import Taken, take

__all__ = [
    "LIBRARY",
    "MISFIT",
    "Device",
    "DeviceLock",
    "EdgeTpuSettings",
    "Listing",
    "Taken",
    "delegate_options",
    "is_misfit",
    "list_devices",
    "lock_folder",
    "misfit",
    "runtimes",
    "take",
    "worker_settings",
]

"""Reset one USB device: done in a child, for the kernel may not come back from it for long.

Prints, as JSON, what failed and its errno; nothing where all went well. Runs on Python 3.9.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys

from edge_agent.worker import leash

USBDEVFS_RESET = ord("U") << 8 | 20
"""``_IO('U', 20)`` of linux/usbdevice_fs.h."""


def main(node: str, seconds: int) -> int:
    """Open the device's node and have the kernel reset it: 1 where that failed."""
    leash.put_on(seconds)
    step = "open"
    try:
        # Without leave to write, the kernel refuses the ioctl.
        descriptor = os.open(node, os.O_WRONLY | os.O_CLOEXEC)
        step = "reset"
        fcntl.ioctl(descriptor, USBDEVFS_RESET, 0)
    except OSError as error:
        print(json.dumps({"failed": step, "errno": error.errno}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))

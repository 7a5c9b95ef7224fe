"""kernel_files.py: what the kernel tells of itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edge_agent import kernel_files
from tests.places import ROOT

UNTOLD = """
from pathlib import Path
from edge_agent import kernel_files
kernel_files.BOOT_ID = Path("/nowhere")
assert kernel_files.boot_id() == kernel_files.boot_id()
print(kernel_files.boot_id())
"""


def test_a_boot_has_one_name() -> None:
    """The kernel's."""
    assert Path("/proc/sys/kernel/random/boot_id").read_text().strip() == kernel_files.boot_id()


def test_a_boot_that_has_no_name_is_no_other() -> None:
    """What one process kept is not taken to be of the same boot by the next: nobody knows."""
    names = {
        subprocess.check_output([sys.executable, "-c", UNTOLD], cwd=ROOT, text=True, timeout=20)
        for _ in range(2)
    }
    assert 2 == len(names)
    assert "" not in names

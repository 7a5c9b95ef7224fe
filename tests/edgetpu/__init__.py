"""An Edge TPU of our own making: a stand-in for libedgetpu, and the sticks that it finds."""

from tests.edgetpu.build import libedgetpu, usbfs
from tests.edgetpu.stick import Bus, Entry, Stick, fixed_scores

__all__ = ["Bus", "Entry", "Stick", "fixed_scores", "libedgetpu", "usbfs"]

"""Where the models run, where they should, and why not there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from edge_agent.classifier import Classifier
from edge_agent.proof import HINT_NO_TWIN
from edge_agent.slot import Slot
from edge_agent.states import EdgeTpuState
from edge_agent.stick import Stick
from edge_agent.stick_status import StickStatus
from edge_agent.vetting import VettedBundle

Device = Literal["cpu", "edgetpu"]


@dataclass(frozen=True)
class DeviceStatus:
    """Where the models run, where they should, and why not there; ``stick`` is None where the configuration
    wants no Edge TPU. ``trouble`` is the reason without its age.
    """

    device: Device | None
    aspired: Device
    degraded: bool
    degraded_s: float
    reason: str | None
    trouble: str | None
    stick: StickStatus | None


class Standing:
    """Of all ``slots``, and how long they were not where they should be. Used under the supervisor's lock.

    ``stick`` is None where everything runs on the CPU; ``wanted``: the device as it is configured.
    """

    def __init__(self, stick: Stick | None, wanted: str, slots: Mapping[str, Slot]) -> None:
        self._stick = stick
        self._wanted = wanted
        self._slots = slots
        self._degraded_ns = 0
        self._degraded_since_ns: int | None = None

    def fits_stick(self, vetted: VettedBundle) -> bool:
        """Whether it has a compiled model that nothing speaks against."""
        if self._stick is None or vetted.compiled is None:
            return False
        return self._stick.faults.objection(vetted.bundle.digest) is None

    def returns(self, vetted: VettedBundle) -> bool:
        """Whether an Edge TPU that has served is to serve it."""
        return self._stick is not None and self._stick.has_served and self.fits_stick(vetted)

    def marked(self, slot: str, classifier: Classifier) -> Classifier:
        """The same, saying of its predictions whether they are made where they should be."""
        degraded = classifier.device == "cpu" and self._wants_stick(self._slots[slot])
        return classifier if classifier.degraded == degraded else classifier.with_degraded(degraded)

    def note(self, on_stick: Collection[str], now_ns: int) -> None:
        """Keep the time spent degraded; ``on_stick``: the slots that the Edge TPU serves."""
        degraded = self._is_degraded(on_stick)
        if degraded and self._degraded_since_ns is None:
            self._degraded_since_ns = now_ns
        elif not degraded and self._degraded_since_ns is not None:
            self._degraded_ns += now_ns - self._degraded_since_ns
            self._degraded_since_ns = None

    def status(self, on_stick: Collection[str], now_ns: int, *, serves: bool) -> DeviceStatus:
        """As it stands; ``serves``: anything does."""
        degraded = self._is_degraded(on_stick)
        device: Device = "edgetpu" if on_stick and not degraded else "cpu"
        running_ns = now_ns - self._degraded_since_ns if self._degraded_since_ns is not None else 0
        stick = self._stick.status() if self._stick else None
        trouble = self._trouble(on_stick, stick, degraded=degraded)
        aged = stick is not None and trouble == stick.trouble
        return DeviceStatus(
            device=device if serves else None,
            aspired="edgetpu" if self._aspires_edgetpu() else "cpu",
            degraded=degraded,
            degraded_s=(self._degraded_ns + running_ns) / 1e9,
            reason=stick.reason(now_ns) if stick is not None and aged else trouble,
            trouble=trouble,
            stick=stick,
        )

    def _wants_stick(self, slot: Slot) -> bool:
        """Whether the CPU is not where it should run: the Edge TPU is asked for by name, or is all that it
        is compiled for, or it is compiled for one that was seen.
        """
        stick = self._stick
        if stick is None:
            return False
        asked = self._wanted != "auto" or slot.vetted.model is None
        return asked or (stick.aspired and slot.vetted.compiled is not None)

    def _aspires_edgetpu(self) -> bool:
        if self._stick is None:
            return False
        return self._wanted != "auto" or any(self._wants_stick(slot) for slot in self._slots.values())

    def _is_degraded(self, on_stick: Collection[str]) -> bool:
        return any(self._wants_stick(slot) and name not in on_stick for name, slot in self._slots.items())

    def _trouble(self, on_stick: Collection[str], stick: StickStatus | None, *, degraded: bool) -> str | None:
        """Why the CPU serves what the Edge TPU could; None where that is as it should be."""
        if stick is None or self._stick is None:
            return None
        left = [slot for slot in self._slots.values() if slot.name not in on_stick]
        coming = any(self.fits_stick(slot.vetted) for slot in left)
        starts = f"Edge TPU {stick.device} is being started"
        if coming and stick.state is not EdgeTpuState.SERVING:
            return stick.trouble or (starts if degraded else None)
        if not degraded:
            return None
        objections = [why for slot in left if (why := self._stick.faults.objection(slot.digest))]
        if objections:
            return objections[0]
        return starts if coming else HINT_NO_TWIN

"""The whole agent at full speed while its stick aborts, hangs and errors: no frame may show it.

Stood in for: libedgetpu with its stick (`tests.edgetpu`). Real: the program, mosquitto, workers, models.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from tests import losses
from tests.agents import TOPICS, Agent, Listener, sturdy_broker
from tests.edgetpu.stick import Fault
from tests.places import need_data
from tests.sticks import CPU_SMALL, SMALL, bundle_of, own_stick

FRAMES = int(os.environ.get("EDGE_AGENT_TEST_LOSSES_FRAMES", "4000"))
"""Shown at full speed: between two losses the CPU answers some hundred. 200,000 take minutes."""

FAULTS: tuple[Fault, ...] = ("abort", "hang", "error", "segfault")


def ordered(chance: random.Random, first: int) -> dict[int, Fault]:
    """Each kind of fault at random invokes from ``first`` on, as many as a stick remembers.

    At least one frame is answered between two: a worker that errs may begin with the next one still.
    """
    schedule: dict[int, Fault] = {}
    at = first
    for number in range(500):
        at += chance.randrange(4, 40)
        schedule[at] = FAULTS[number % len(FAULTS)]
    return schedule


@need_data
def test_every_frame_is_answered_once_and_in_order_whatever_befalls_the_stick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each frame has its own answer, from the stick or from the CPU; the daemon stays, and ends with 0. Each
    loss is counted once, is one warning, and is made good.
    """
    with (
        own_stick(tmp_path, monkeypatch) as (bus, stick),
        sturdy_broker() as broker,
        Listener(broker.port) as listener,
    ):
        model = bundle_of(tmp_path / "both", CPU_SMALL, SMALL)
        shown = losses.pictures(tmp_path, FRAMES)
        answers = losses.answers(tmp_path, model)
        stick.spare(losses.UNHARMED)
        stick.schedule(ordered(random.Random(3), stick.invokes))
        with Agent(tmp_path, losses.text(broker.port, shown, model, timeout_s=0.5)) as agent:
            assert 0 == agent.ends(), agent.log()
        assert listener.says(TOPICS.availability, b"offline")
        heard = listener.predictions("clip")
        assert FRAMES == len(heard)
        assert [] == losses.faults_of(heard, answers)
        lost = sum(len(bus.journal(fault)) for fault in FAULTS)
        assert lost >= len(FAULTS)
        assert lost == len(losses.takeovers(heard))
        edgetpu = json.loads(listener.payloads(TOPICS.health)[-1])["edgetpu"]
        assert lost == edgetpu["losses"]
        assert edgetpu["recoveries"] in (lost, lost - 1)  # the last one may have come too late
        told = [line for line in agent.log("WARNING") if "embedded in" not in line and "not act" not in line]
        assert lost == len(told), told
        assert [] == [line for line in told if "lost: worker" not in line]
        assert [] == agent.log("ERROR")

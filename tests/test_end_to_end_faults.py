"""The whole agent while it, its workers or its models die or hang."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agents import TOPICS, Agent, Listener, configuration, sturdy_broker
from tests.brokers import Broker, free_port
from tests.places import CORAL, need_data
from tests.streams import MjpegServer

CLIP = CORAL / "bottle-detection.mp4"
CLIP_FRAMES = 1189
SCENE = {"scene": {"source": "scene:finishes"}}
OFFLINE = b"offline"


def starting(agent: Agent, _listener: Listener) -> None:
    """The very beginning: its first line."""
    assert agent.logged("agent dock starts")


def vetting(agent: Agent, listener: Listener) -> None:
    """Its model is being vetted, and will be for long."""
    agent.next_worker()
    assert listener.says(TOPICS.availability, b"online")


def serving(_agent: Agent, listener: Listener) -> None:
    """It predicts as fast as it can."""
    assert listener.predicted("clip", 50)


Moment = Callable[[Agent, Listener], None]


@need_data
@pytest.mark.parametrize("moment", [starting, vetting, serving])
def test_an_agent_that_is_killed_leaves_no_process_behind(moment: Moment, tmp_path: Path) -> None:
    """After SIGKILL every worker leaves by itself, and the broker tells that the agent is offline."""
    fault = "hang" if moment is vetting else None
    with sturdy_broker() as broker, Listener(broker.port) as listener:
        text = configuration(broker.port, {"clip": {"source": CLIP, "loop": True}})
        with Agent(tmp_path, text, fault=fault, turns=[0], vetting=True) as agent:
            moment(agent, listener)
            agent.process.kill()
            assert -signal.SIGKILL == agent.ends()
            assert agent.leaves_no_process()
            if moment is not starting:
                assert listener.says(TOPICS.availability, OFFLINE)


@need_data
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGABRT])
def test_a_worker_that_dies_costs_no_frame(how: signal.Signals, tmp_path: Path) -> None:
    """Its frames run again on the next worker: none is lost, none comes twice, and `health` counts it."""
    with sturdy_broker() as broker, Listener(broker.port) as listener:
        with Agent(tmp_path, configuration(broker.port, {"clip": {"source": CLIP}})) as agent:
            agent.next_worker()
            serves = agent.next_worker()
            assert listener.predicted("clip", 100)
            serves.send(how)
            assert 0 == agent.ends(), agent.log()
            assert 1 == len(agent.log(f"ended by {how.name}"))
            assert [] == agent.log("ERROR")
        assert listener.says(TOPICS.availability, OFFLINE)
        heard = listener.predictions("clip")
        assert list(range(1, CLIP_FRAMES + 1)) == [each["sequence"] for each in heard]
        assert list(range(1, CLIP_FRAMES + 1)) == [each["frame"] for each in heard]
        assert listener.tells(
            TOPICS.health, lambda health: (health["losses"], health["recoveries"]) == (1, 1)
        )


@need_data
def test_a_worker_that_hangs_is_replaced_and_costs_no_frame(tmp_path: Path) -> None:
    """No answer before the deadline is a loss like a death: replaced, and the frame runs again."""
    with sturdy_broker() as broker, Listener(broker.port) as listener:
        text = configuration(broker.port, {"clip": {"source": CLIP}}, inference={"timeout_s": 1.0})
        with Agent(tmp_path, text, fault="hang", turns=[100]) as agent:
            assert 0 == agent.ends(), agent.log()
            assert 1 == len(agent.log("gave no answer within 1 s"))
        assert listener.says(TOPICS.availability, OFFLINE)
        heard = listener.predictions("clip")
        assert list(range(1, CLIP_FRAMES + 1)) == [each["frame"] for each in heard]
        assert listener.tells(
            TOPICS.health, lambda health: (health["losses"], health["recoveries"]) == (1, 1)
        )


@need_data
def test_a_model_that_kills_every_worker_ends_in_a_fault_and_not_the_agent(tmp_path: Path) -> None:
    """After five deaths no worker is started any more; the agent says why on `health`, and still obeys."""
    with Broker() as broker, Listener(broker.port) as listener:
        # Every worker runs once to warm up, and then dies of a frame.
        turns = range(1, 1000, 2)
        with Agent(tmp_path, configuration(broker.port, SCENE), fault="abort", turns=turns) as agent:
            workers = [agent.next_worker() for _ in range(6)]
            assert agent.logged("no worker is started any more after 5 deaths")
            for worker in workers:
                assert worker.ends_within(0)
            assert listener.tells(TOPICS.health, lambda health: "SIGABRT" in "".join(health["faults"]))
            assert listener.tells(TOPICS.health, lambda health: health["device"] is None)
            assert listener.tells(TOPICS.health, lambda health: health["losses"] == 5)
            assert listener.tells(TOPICS.model("default"), lambda model: model["serving"] is None)
            assert [] == listener.predictions("scene")

            agent.process.send_signal(signal.SIGHUP)
            agent.next_worker()  # SIGHUP tries again
            assert 0 == agent.stop()
            assert agent.leaves_no_process()
            assert listener.says(TOPICS.availability, OFFLINE)


@need_data
def test_workers_that_are_killed_one_after_another_end_in_the_same_fault(tmp_path: Path) -> None:
    """A worker killed as soon as it appears, each time, is no endless loop of restarts either."""
    with (
        Broker() as broker,
        Listener(broker.port) as listener,
        Agent(tmp_path, configuration(broker.port, SCENE)) as agent,
    ):
        assert agent.next_worker().ends_within(60)  # the one that vets
        for _ in range(5):
            agent.next_worker().send(signal.SIGKILL)
        assert agent.logged("no worker is started any more after 5 deaths")
        assert listener.tells(TOPICS.health, lambda health: "SIGKILL" in "".join(health["faults"]))
        assert 0 == agent.stop()


@need_data
def test_a_frame_that_kills_its_worker_is_given_up_and_the_next_one_served(tmp_path: Path) -> None:
    """One bad frame costs three workers, is named in the log, and no other frame with it."""
    with sturdy_broker() as broker, Listener(broker.port) as listener:
        text = configuration(broker.port, {"clip": {"source": CLIP}})
        # Turn 50 kills the first worker; the others warm up, and meet the frame again.
        with Agent(tmp_path, text, fault="abort", turns=[49, 51, 53]) as agent:
            assert 0 == agent.ends(), agent.log()
            assert 1 == len(agent.log("could not be looked at"))
        assert listener.says(TOPICS.availability, OFFLINE)
        heard = listener.predictions("clip")
        bad = 49
        assert [frame for frame in range(1, CLIP_FRAMES + 1) if frame != bad] == [
            each["frame"] for each in heard
        ]
        assert list(range(1, CLIP_FRAMES)) == [each["sequence"] for each in heard]


@need_data
@pytest.mark.parametrize("stopped", [False, True])
def test_nothing_that_hangs_keeps_the_agent_from_ending(stopped: bool, tmp_path: Path) -> None:
    """Worker stuck in an inference or stopped whole, silent camera, no broker: SIGTERM ends it with 0."""
    server = MjpegServer()
    server.silent = True
    with server:
        cameras = {**SCENE, "mute": {"source": server.url}}
        text = configuration(free_port(), cameras, inference={"timeout_s": 600})
        with Agent(tmp_path, text, fault=None if stopped else "hang", turns=range(1, 1000)) as agent:
            agent.next_worker()
            serves = agent.next_worker()
            assert agent.logged("camera scene is online")
            assert agent.logged(" serves on the CPU ")
            if stopped:
                serves.send(signal.SIGSTOP)
            assert server.connected.acquire(timeout=60)
            assert 0 == agent.stop()
            assert agent.logged("agent dock has stopped")
            assert [] == agent.log("ERROR")
            assert agent.leaves_no_process()

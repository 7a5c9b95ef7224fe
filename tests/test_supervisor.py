"""supervisor.py and lane.py: workers that die under way, with real workers that do."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge_agent.cameras import Bell
from edge_agent.classifier import RankingRule
from edge_agent.errors import SlotDownError, WorkerDiedError
from edge_agent.planning import GIVE_UP_DEATHS
from edge_agent.states import State
from edge_agent.supervisor import Supervisor
from edge_agent.vetting import VettedBundle, vet_bundle
from edge_agent.worker_process import WorkerSettings
from tests.desks import CLOCK, RULE, CountingCamera, Desk
from tests.faults.worker import faulty_python
from tests.places import CORAL, need_data
from tests.processes import exists

pytestmark = need_data


@pytest.fixture(scope="module")
def vetted() -> VettedBundle:
    """A small real model: 96 x 96 x 3, int8, two classes."""
    return vet_bundle(CORAL / "vww_96_int8.tflite", WorkerSettings(threads=1), CLOCK)


StartDesk = Callable[..., Desk]


@pytest.fixture
def desk(vetted: VettedBundle, tmp_path: Path) -> Iterator[StartDesk]:
    """A desk whose workers do ``fault`` at the given invokes; the warm-up is one too."""
    with ExitStack() as stack:

        def start(fault: str | None, turns: tuple[int, ...], frames: int, timeout_s: float = 30.0) -> Desk:
            python = faulty_python(tmp_path, fault, turns) if fault else None
            made = Desk(vetted, WorkerSettings(threads=1, python=python), frames, timeout_s)
            stack.callback(made.close)
            return made

        yield start


def test_every_frame_has_its_prediction_in_order(desk: StartDesk) -> None:
    """A healthy worker answers each frame once."""
    one = desk(None, (), 200)
    one.run()
    assert list(range(1, 201)) == one.done
    assert one.failed == []
    assert one.lane.overdue_s() == 0.0


@pytest.mark.parametrize("fault", ["abort", "segfault", "garbage"])
def test_ready_to_exited_to_ready_when_the_worker_dies(desk: StartDesk, fault: str) -> None:
    """The frames that were with the dead worker are answered by the new one: none lost, none twice."""
    one = desk(fault, (5, 20), 30)
    one.run()
    assert list(range(1, 31)) == one.done
    status = one.supervisor.status()[0]
    assert (2, 2, State.READY) == (status.losses, status.recoveries, status.state)


def test_ready_to_exited_to_ready_when_the_worker_hangs(desk: StartDesk) -> None:
    """A worker past its deadline is killed, and its frame answered by the next."""
    one = desk("hang", (5,), 20, timeout_s=0.3)
    one.run()
    assert list(range(1, 21)) == one.done


def test_a_tensor_that_the_runtime_refuses_costs_one_frame(desk: StartDesk) -> None:
    """An error answer is a failure of that frame, and the worker goes on."""
    one = desk("error", (5,), 10)
    one.run()
    assert [5] == [number for number, _ in one.failed]
    assert [1, 2, 3, 4, 6, 7, 8, 9, 10] == one.done
    assert 0 == one.supervisor.status()[0].losses


def test_a_frame_that_kills_each_worker_is_given_up(desk: StartDesk) -> None:
    """Three workers may die of one frame; then it fails, and the others are answered."""
    # Invokes: 0 warms; 1 and 2 serve; 3 dies; 4 warms; 5 dies; 6 warms; 7 dies.
    one = desk("abort", (3, 5, 7), 6)
    one.run()
    assert [3] == [number for number, _ in one.failed]
    assert [1, 2, 4, 5, 6] == one.done


def test_exited_to_fatal_when_the_model_keeps_killing_its_workers(
    desk: StartDesk, caplog: pytest.LogCaptureFixture
) -> None:
    """After five deaths no worker is started any more: a named fault, not a loop; waiting frames fail."""
    one = desk("abort", tuple(range(1, 100, 2)), 2)
    one.run()
    status = one.supervisor.status()[0]
    assert (GIVE_UP_DEATHS, State.FATAL) == (status.losses, status.state)
    assert "no worker is started any more after 5 deaths: worker" in (status.reason or "")
    assert "SIGABRT" in (status.reason or "")
    with pytest.raises(SlotDownError, match="SIGABRT"):
        one.supervisor.serving("default", 0.0)
    assert 1 == sum("no worker is started any more" in record.message for record in caplog.records)
    assert SlotDownError in [type(error) for _, error in one.failed]


def test_frames_that_must_not_be_lost_wait_for_another_model(desk: StartDesk, vetted: VettedBundle) -> None:
    """What is on its way from a file or folder when the slot is given up is answered by the next model."""
    # Each of five workers dies of its first frame; the third death ends the tries of frame 1.
    one = desk("abort", tuple(range(1, 2 * GIVE_UP_DEATHS, 2)), 4)
    one.camera.lossless = True
    one.start()
    one.wait_until_down()
    assert one.lane.holds(one.camera)
    one.aspire(vetted)
    one.wait()
    assert [2, 3, 4] == one.done
    assert [1] == [number for number, _ in one.failed]


def test_fatal_to_starting_when_the_slot_is_aspired_anew(desk: StartDesk, vetted: VettedBundle) -> None:
    """What was held against a slot is forgotten when it is given a model again; the losses stay counted."""
    one = desk("abort", tuple(range(1, 2 * GIVE_UP_DEATHS, 2)), 2)
    one.run()
    assert one.supervisor.status()[0].is_down
    one.aspire(vetted)
    one.until_on("cpu")
    assert GIVE_UP_DEATHS == one.supervisor.status()[0].losses


def test_a_death_counts_once_whoever_tells_of_it_first(vetted: VettedBundle) -> None:
    """The lane that was waiting and the main loop both see it; one worker is started in its place."""
    supervisor = Supervisor(WorkerSettings(threads=1), 30.0, CLOCK, lambda: None)
    supervisor.aspire("default", vetted, RULE)
    while supervisor.serving("default", 0.0) is None:
        while supervisor.step():
            continue
        select.select(supervisor.awaited(), [], [], 1)
    serving = supervisor.serving("default", 0.0)
    assert serving is not None
    os.kill(serving.runner.pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError) as death:
        serving.classify(CountingCamera(Bell(), 1).take() or pytest.fail("no frame"))
    assert supervisor.step()
    supervisor.lost(serving, death.value)
    assert not supervisor.step()
    status = supervisor.status()[0]
    assert (1, State.STARTING, None) == (status.losses, status.state, status.classifier)
    supervisor.close()


def test_another_rule_applies_from_the_next_frame_on(desk: StartDesk) -> None:
    """Thresholds change without another worker."""
    one = desk(None, (), 10)
    one.run()
    before = one.supervisor.serving("default", 0.0)
    one.supervisor.set_rule("default", RankingRule(top_k=1, threshold=0.9))
    after = one.supervisor.serving("default", 0.0)
    assert before is not None
    assert after is not None
    assert (0.9, True) == (after.rule.threshold, after.runner is before.runner)


def test_closing_leaves_no_worker(desk: StartDesk) -> None:
    """Every worker has ended when close() returns."""
    one = desk(None, (), 5)
    one.run()
    serving = one.supervisor.serving("default", 0.0)
    assert serving is not None
    pid = serving.runner.pid
    one.close()
    assert not exists(pid)

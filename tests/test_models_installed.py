"""edge-agent status and models list|install|activate|rollback|prune, with an agent that runs and without."""

from __future__ import annotations

import json
import queue
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import edge_agent.bundle.files
from edge_agent.__main__ import main
from edge_agent.bundle import read_bundle
from edge_agent.bundle.layout import choose_labels
from edge_agent.bundle.packing import unpack
from edge_agent.catalogue import find
from edge_agent.cli.overview import duration_text
from edge_agent.clock import SystemClock
from edge_agent.control_socket import Answer, ControlClient, ControlRequest, ControlServer
from edge_agent.errors import ControlError, ControlNotAllowedError, UnknownVersionError, UsageError
from edge_agent.messages import CameraStatusMessage, HealthMessage, Message, ModelMessage, to_json
from edge_agent.repository import Repository, Version
from tests.places import FINISHES, ROOT

PAGE = (ROOT / "docs" / "control.md").read_text()


def documented() -> dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Verb to the arguments and the answers that docs/control.md shows below its heading."""
    found: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {}
    for body in re.findall(r"^```json\n(.*?)^```$", PAGE.partition("## Verbs")[2], re.MULTILINE | re.DOTALL):
        shown = json.loads(body)
        if "verb" in shown:
            found[shown["verb"]] = (shown["arguments"], [])
            answers = found[shown["verb"]][1]
        else:
            answers.append(shown)
    return found


DOCUMENTED = documented()


class Agent:
    """Answers as docs/control.md shows; ``asked`` is what came, ``digests`` those of the files."""

    def __init__(self, path: Path) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.digests: list[str] = []
        self.refusal: ControlError | None = None
        self._requests: queue.SimpleQueue[ControlRequest | None] = queue.SimpleQueue()
        server_requests: queue.SimpleQueue[ControlRequest] = self._requests  # type: ignore[assignment]
        self._server = ControlServer(path, server_requests, lambda: None, SystemClock())
        self._loop = threading.Thread(target=self._turn)
        self._loop.start()

    def _turn(self) -> None:
        while (request := self._requests.get()) is not None:
            self.asked.append((request.verb, dict(request.arguments)))
            if request.file is not None:
                self.digests.append(unpack(request.file, Path(request.arguments["path"])).digest)
                request.file.close()
            if self.refusal is not None:
                request.reply(Answer.failed(self.refusal))
                continue
            for answer in DOCUMENTED[request.verb][1]:
                request.reply(Answer(answer["status"], answer["data"]))

    def close(self) -> None:
        """Nobody listens any more."""
        self._server.close()
        self._requests.put(None)
        self._loop.join()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration of one slot whose agent listens in the test's own folder."""
    path = tmp_path / "config.toml"
    path.write_text(
        '[agent]\nstate_dir = "state"\nsocket = "control.sock"\n[inference]\ndevice = "cpu"\n'
        '[models.default]\npath = "inbox"\n'
    )
    return path


@pytest.fixture
def agent(config: Path) -> Iterator[Agent]:
    """One that runs."""
    agent = Agent(config.with_name("control.sock"))
    yield agent
    agent.close()


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """The bundled model; another version of it lies beside."""
    first = shutil.copytree(FINISHES, tmp_path / "first")
    second = shutil.copytree(FINISHES, tmp_path / "second")
    settings = second / "bundle.toml"
    settings.write_text(settings.read_text() + "\n# the second\n")
    return first


def run(*words: str | Path, config: Path, code: int = 0) -> None:
    """A command that ends with this exit code."""
    assert code == main([*map(str, words), "-c", str(config)])


def test_what_changes_while_it_is_read_is_not_installed(
    config: Path,
    agent: Agent,
    export: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The model of one export and the labels of the next are none."""
    labels = export / "labels.txt"

    def chosen(*arguments: Any) -> Any:
        labels.write_text("".join(reversed(labels.read_text().splitlines(keepends=True))))
        return choose_labels(*arguments)

    monkeypatch.setattr(edge_agent.bundle.files, "choose_labels", chosen)
    run("models", "install", export, config=config, code=1)
    assert "changed while it was read; try again" in capsys.readouterr().err
    assert [] == agent.asked


def shown(capsys: pytest.CaptureFixture[str], *words: str | Path, config: Path) -> Any:
    """What a command prints with --json."""
    capsys.readouterr()
    run(*words, "--json", config=config)
    return json.loads(capsys.readouterr().out)


COMMANDS = {
    "status": ["status"],
    "models/list": ["models", "list", "--slot", "default"],
    "models/activate": ["models", "activate", "a81b"],
    "models/rollback": ["models", "rollback"],
    "models/prune": ["models", "prune", "--slot", "default"],
    "pause": ["pause", "door"],
    "resume": ["resume", "door"],
}

ASKED_ELSEWHERE = {"models/verify", "ping", "config/get", "snapshot", "threshold/set", "restart"}
"""Verbs that no command of these asks for."""


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_asks_and_prints_what_is_documented(
    agent: Agent, config: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """docs/control.md is what an agent and its clients agree on."""
    arguments, answers = DOCUMENTED[verb]
    assert answers[-1]["data"] == shown(capsys, *COMMANDS[verb], config=config)
    assert [(verb, arguments)] == agent.asked


def test_install_hands_the_content_over(
    agent: Agent, config: Path, export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The agent gets the very bundle, sealed, and the way it was called; progress goes to stderr."""
    run("models", "install", export, config=config)
    arguments = {"slot": "default", "path": str(export)}
    assert [("models/install", arguments)] == agent.asked
    assert DOCUMENTED["models/install"][0].keys() == arguments.keys()
    assert [read_bundle(export).digest] == agent.digests
    said = capsys.readouterr()
    assert "proving finish 3f9c0a1b2c3d ...\n" == said.err
    assert said.out.startswith("slot default: finish 3f9c0a1b2c3d serves now\nwarning: only a model compiled")


def test_verify_asks_the_agent_that_runs(
    agent: Agent, config: Path, export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It knows the runtime, the key and the budget, is handed the bundle, and needs no right to the file."""
    run("models", "verify", export, config=config)
    assert [("models/verify", {"slot": "default", "path": str(export)})] == agent.asked
    assert [read_bundle(export).digest] == agent.digests
    said = capsys.readouterr().out
    assert "ok: finish 3f9c0a1b2c3d, 2 labels, first inference 2.8 ms on litert 2.3.0\n" == said
    assert (
        DOCUMENTED["models/verify"][1][-1]["data"].keys()
        == shown(capsys, "models", "verify", export, config=config).keys()
    )


def test_verify_without_the_right_to_ask(
    config: Path, export: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may read a bundle may have it proven, by the command itself then."""

    def refuse(*_: object) -> None:
        raise ControlNotAllowedError("control.sock", "edge-agent")

    monkeypatch.setattr(ControlClient, "ask", refuse)
    told = shown(capsys, "models", "verify", export, config=config)
    assert read_bundle(export).digest == told["digest"]


def test_every_verb_is_documented() -> None:
    """With the arguments, and an answer that ends it."""
    assert {*COMMANDS, "models/install", *ASKED_ELSEWHERE} == set(DOCUMENTED)
    assert ["ok"] * len(DOCUMENTED) == [answers[-1]["status"] for _, answers in DOCUMENTED.values()]


def test_status_quotes_the_published_messages() -> None:
    """What is documented of it has all keys of the messages, and no other."""
    told = DOCUMENTED["status"][1][-1]["data"]
    kinds: list[tuple[type[Message], list[Any]]] = [
        (HealthMessage, [told["health"]]),
        (ModelMessage, told["models"]),
        (CameraStatusMessage, told["cameras"]),
    ]
    for kind, messages in kinds:
        for message in messages:
            assert message == json.loads(to_json(kind.model_validate(message)))


LIST = """slot default: serving
DIGEST        NAME    ITERATION  LABELS     SIZE  STATE     INSTALLED         SERVES SINCE
3f9c0a1b2c3d  finish  7              12   2.6 MB  current   2026-11-20 11:59  2026-11-20 12:00
a81b0c2d3e4f  finish  -               -  99.0 kB  previous  2026-11-01 07:00  -
refused:
0d6f2a4c8e10  finish  2026-11-19 08:30
  golden image golden/cat.jpg: 'dog' wins, not 'cat'
"""

STATUS = """agent    dock, edge-agent 0.1.0, up 3 h 12 min, pid 812
device   cpu, not edgetpu: Edge TPU usb:0 lost 12 s ago: SIGABRT; 1 loss, 0
         recoveries
broker   connected to 127.0.0.1:1883
outbox   0 waiting, 0 dropped
soc      51.2 \N{DEGREE SIGN}C

SLOT     STATE      MODEL       DIGEST        DEVICE  SINCE
default  probation  finish (7)  3f9c0a1b2c3d  cpu     2026-11-20 12:00
         previous   finish (6)  a81b0c2d3e4f
  default: refused 0d6f2a4c8e10 at 2026-11-19 08:30: golden image
  golden/cat.jpg: 'dog' wins, not 'cat'

CAMERA  STATE   FPS  DROPPED  FAILED     LATEST  INFERENCE
door    online  5.0        3       0  0.2 s ago     0.6 ms

FAULTS
- Edge TPU: usb:0 lost 12 s ago: SIGABRT
"""


@pytest.fixture
def in_utc() -> Iterator[None]:
    """The local time is UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("agent", "in_utc")
@pytest.mark.parametrize(("words", "expected"), [(["models", "list"], LIST), (["status"], STATUS)])
def test_people_get_a_screen(
    config: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    """What is installed and what runs, in columns, with local times."""
    run(*words, config=config)
    told = re.sub(r"pid 812, \S+", "pid 812", capsys.readouterr().out)  # that of whoever has this pid here
    assert expected == told


def test_what_the_agent_refuses_is_one_line(
    agent: Agent, config: Path, export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As every error: what, the remedy, the exit code."""
    agent.refusal = ControlError("golden image cat.jpg: 'dog' wins", "export it again")
    run("models", "install", export, config=config, code=1)
    assert "error: golden image cat.jpg: 'dog' wins; export it again\n" == capsys.readouterr().err


def test_status_needs_an_agent(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without one it says so, and how to start it."""
    run("status", config=config, code=1)
    socket = config.with_name("control.sock")
    expected = f"error: no agent listens at {socket}; start it: systemctl start edge-agent\n"
    assert expected == capsys.readouterr().err


def test_a_slot_is_one_of_those_configured(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is none is bad usage, and so is none at all where there are several."""
    run("models", "list", "--slot", "dock", config=config, code=2)
    assert "error: there is no slot 'dock'; there are: default\n" == capsys.readouterr().err
    config.write_text(config.read_text() + '[models.second]\npath = "second"\n')
    run("models", "rollback", config=config, code=2)
    expected = "error: there are several slots: default, second; name one with --slot\n"
    assert expected == capsys.readouterr().err


def test_looking_makes_no_folders(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing was ever installed, list and prune say so, whoever asks."""
    nothing = [{"slot": "default", "state": "stopped", "versions": [], "rejected": []}]
    assert {"slots": nothing} == shown(capsys, "models", "list", config=config)
    run("models", "list", config=config)
    assert "slot default: stopped\nnothing is installed\n" == capsys.readouterr().out
    run("models", "prune", config=config)
    assert "slot default: nothing to remove\n" == capsys.readouterr().out
    assert not config.with_name("state").exists()


def test_without_an_agent_the_next_start_finds_it(
    config: Path, export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Install, install another, roll back, activate: each leaves a slot that serves what was asked for."""
    first, second = read_bundle(export), read_bundle(export.with_name("second"))
    told = shown(capsys, "models", "install", export, config=config)
    expected = {*DOCUMENTED["models/install"][1][-1]["data"]}
    assert (expected, "activated", first.digest) == ({*told}, told["outcome"], told["digest"])
    assert "unchanged" == shown(capsys, "models", "install", export, config=config)["outcome"]
    run("models", "install", second.path, config=config)
    assert states(config) == {first.digest: "previous", second.digest: "current"}
    told = shown(capsys, "models", "rollback", config=config)
    assert (first.digest, second.digest) == (told["digest"], told["left"])
    assert {*DOCUMENTED["models/rollback"][1][-1]["data"]} == {*told}
    assert states(config) == {first.digest: "current", second.digest: "held"}
    told = shown(capsys, "models", "activate", second.digest[:6], config=config)
    assert {*DOCUMENTED["models/activate"][1][-1]["data"]} == {*told}
    assert states(config) == {first.digest: "previous", second.digest: "current"}
    told = shown(capsys, "models", "list", config=config)["slots"][0]
    documented = DOCUMENTED["models/list"][1][-1]["data"]["slots"][0]
    assert (documented.keys(), "stopped") == (told.keys(), told["state"])
    assert documented["versions"][0].keys() == told["versions"][0].keys()


def states(config: Path) -> dict[str, str]:
    """Digest to state of what is installed."""
    with Repository(config.with_name("state"), "default") as repository:
        return {version.digest: version.state for version in repository.versions()}


def test_what_replaces_another_is_on_probation(config: Path, export: Path) -> None:
    """Unless it is forced, or there is nothing to fall back to; the agent has not run with it yet."""
    run("models", "install", export, config=config)
    assert probation(config) is None
    run("models", "install", export.with_name("second"), config=config)
    assert (read_bundle(export.with_name("second")).digest, False) == probation(config)
    run("models", "activate", "--force", read_bundle(export).digest, config=config)
    assert probation(config) is None


def test_going_back_during_a_trial_is_no_trial(config: Path, export: Path) -> None:
    """What served before has shown itself: the unproven one is held, and is nothing to fall back to."""
    first, second = read_bundle(export).digest, read_bundle(export.with_name("second")).digest
    run("models", "install", export, config=config)
    run("models", "install", export.with_name("second"), config=config)
    run("models", "activate", first, config=config)
    assert probation(config) is None
    assert {first: "current", second: "held"} == states(config)


def probation(config: Path) -> tuple[str, bool] | None:
    """The digest on probation, and whether the agent is said to have run with it."""
    with Repository(config.with_name("state"), "default") as repository:
        found = repository.probation
        return None if found is None else (found.digest, found.running)


def test_a_bad_bundle_changes_nothing_and_is_remembered(
    config: Path, export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What served still does, the exit code is 1, and the list says why it was refused."""
    run("models", "install", export, config=config)
    bad = export.with_name("second")
    labels = (bad / "labels.txt").read_text().splitlines()
    (bad / "labels.txt").write_text("\n".join(labels[1:] + labels[:1]))
    capsys.readouterr()
    run("models", "install", bad, config=config, code=1)
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {bad}: ")
    assert states(config) == {read_bundle(export).digest: "current"}
    told = shown(capsys, "models", "list", config=config)["slots"][0]["rejected"]
    documented = DOCUMENTED["models/list"][1][-1]["data"]["slots"][0]["rejected"]
    assert [read_bundle(bad).digest] == [each["digest"] for each in told]
    assert documented[0].keys() == told[0].keys()


def test_a_digest_may_be_shortened() -> None:
    """To four digits, where they name one version."""
    versions = [_version("abcd1"), _version("abcd2"), _version("ffff0")]
    assert "ffff0" == find(versions, "FFFF").digest[:5]
    assert "abcd2" == find(versions, "abcd2").digest[:5]
    for digits in ("abcd", "abc", "xyz1", "", "f" * 65):
        with pytest.raises(UsageError):
            find(versions, digits)
    with pytest.raises(UnknownVersionError):
        find(versions, "0000")


def _version(start: str) -> Version:
    digest = start.ljust(64, "0")
    return Version(digest=digest, name="n", iteration=None, labels=1, size=1, installed_ns=1, origin="test")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (61, "1 min 1 s"), (11533, "3 h 12 min"), (86_400 * 9, "9 d 0 h")]
)
def test_a_duration_is_its_two_largest_units(seconds: int, text: str) -> None:
    """More than that nobody reads."""
    assert text == duration_text(seconds)

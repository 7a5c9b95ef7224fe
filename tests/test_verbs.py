"""What a running agent answers at its control socket: the real agent, the real commands."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edge_agent.__main__ import main
from edge_agent.bundle import read_bundle
from edge_agent.bundle.packing import pack
from edge_agent.cli.demo import _configured
from edge_agent.control_socket import ControlClient
from edge_agent.errors import AgentBusyError, AgentNotRunningError, ControlError, UsageError
from edge_agent.messages import CameraStatusMessage, HealthMessage, ModelMessage
from edge_agent.repository import Repository
from tests.agents import Agent, configuration
from tests.keys import make_key
from tests.places import FINISHES
from tests.test_models_installed import DOCUMENTED, run, shown

SCENE = {"scene": {"source": "scene:finishes", "fps": 20}}


def bundle(folder: Path, name: str) -> Path:
    """The bundled model; each name gives it another digest."""
    place = shutil.copytree(FINISHES, folder / name)
    with (place / "bundle.toml").open("a") as settings:
        settings.write(f"\n# {name}\n")
    return place


def text(folder: Path, **sections: Any) -> str:
    """A configuration of an agent without a broker, whose model is the bundle "first"."""
    sections = {"model": {"path": folder / "first"}, **sections}
    return configuration(1, SCENE, **sections)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """One that serves the bundle "first"; "second" and "third" lie beside it."""
    for name in ("first", "second", "third"):
        bundle(tmp_path, name)
    with Agent(tmp_path, text(tmp_path)) as agent:
        assert agent.logged("serves on the CPU")
        yield agent


def digest(agent: Agent, name: str) -> str:
    """Of the bundle of this name."""
    return read_bundle(agent.path.with_name(name)).digest


def states(agent: Agent, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Digest to state of what the agent has installed."""
    told = shown(capsys, "models", "list", config=agent.path)["slots"][0]
    return {version["digest"]: version["state"] for version in told["versions"]}


def client(agent: Agent) -> ControlClient:
    """Speaks to it without the command line."""
    return ControlClient(agent.path.with_name("control.sock"))


def settled(agent: Agent) -> dict[str, Any]:
    """Its only slot, once nothing is looked at: what lies at the path is, too, when it has stood still."""
    while True:
        slot: dict[str, Any] = client(agent).ask("models/list")["slots"][0]
        if slot["state"] not in ("vetting", "swapping"):
            return slot


def documented(verb: str) -> dict[str, Any]:
    """The ``data`` of the last answer in docs/control.md."""
    data: dict[str, Any] = DOCUMENTED[verb][1][-1]["data"]
    return data


def test_status_has_the_messages_as_they_stand(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    """The same objects that are published, and who answers."""
    told = shown(capsys, "status", config=agent.path)
    assert documented("status").keys() == told.keys()
    assert ("dock", agent.process.pid) == (told["agent"], told["pid"])
    assert {"where": "127.0.0.1:1", "connected": False} == told["broker"]
    assert "cpu" == HealthMessage.model_validate(told["health"]).device
    assert ["scene"] == [CameraStatusMessage.model_validate(each).camera for each in told["cameras"]]
    (model,) = [ModelMessage.model_validate(each) for each in told["models"]]
    assert model.serving is not None
    assert digest(agent, "first")[:12] == model.serving.digest


def test_an_agent_that_answers_needs_no_restart(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    """Though its broker is away; and nothing is printed, for a health check keeps what it reads."""
    run("status", "--check", config=agent.path)
    said = capsys.readouterr()
    assert ("", "") == (said.out, said.err)


def test_what_is_installed_serves_at_once(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    """On probation, with the one before as the previous; the same again changes nothing."""
    first, second = digest(agent, "first"), digest(agent, "second")
    told = shown(capsys, "models", "install", agent.path.with_name("second"), config=agent.path)
    assert documented("models/install").keys() == told.keys()
    assert (second, "serving", 12) == (told["digest"], told["outcome"], told["labels"])
    listed = settled(agent)
    expected = documented("models/list")["slots"][0]
    assert (expected.keys(), "probation") == (listed.keys(), listed["state"])
    assert expected["versions"][0].keys() == listed["versions"][0].keys()
    assert [(second, "current", True), (first, "previous", False)] == [
        (each["digest"], each["state"], each["since"] is not None) for each in listed["versions"]
    ]
    again = shown(capsys, "models", "install", agent.path.with_name("second"), config=agent.path)
    assert {**told, "outcome": "unchanged"} == again


def test_progress_is_told_step_by_step(agent: Agent) -> None:
    """Vetted, installed, swapped: the one who waits sees where it stands."""
    packed = pack(read_bundle(agent.path.with_name("second")))
    steps: list[str] = []
    arguments = {"slot": "default", "path": "/home/pi/export.zip"}
    client(agent).ask("models/install", arguments, packed, lambda told: steps.append(told["step"]))
    assert ["vetting", "installing", "swapping"] == steps


def test_what_is_handed_over_needs_no_right_to_read(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    """The agent gets the content: where it was read may be gone by then, as a drive that was pulled."""
    second = agent.path.with_name("second")
    expected, packed = digest(agent, "second"), pack(read_bundle(second))
    shutil.rmtree(second)
    client(agent).ask("models/install", {"path": str(second)}, packed)
    assert "current" == states(agent, capsys)[expected]
    origins = shown(capsys, "models", "list", config=agent.path)["slots"][0]["versions"]
    assert f"edge-agent models install {second}" == origins[0]["origin"]


def test_rollback_holds_what_it_leaves(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    """It says which; there is nothing before it to go back to then, and a person may bring it back."""
    first, second = digest(agent, "first"), digest(agent, "second")
    run("models", "install", agent.path.with_name("second"), config=agent.path)
    told = shown(capsys, "models", "rollback", config=agent.path)
    assert documented("models/rollback").keys() == told.keys()
    assert (first, second, "serving") == (told["digest"], told["left"], told["outcome"])
    assert {first: "current", second: "held"} == states(agent, capsys)
    run("models", "rollback", config=agent.path, code=1)
    assert "no previous model" in capsys.readouterr().err
    told = shown(capsys, "models", "activate", second[:6], config=agent.path)
    assert documented("models/activate").keys() == told.keys()
    assert (second, "serving") == (told["digest"], told["outcome"])
    assert {first: "previous", second: "current"} == states(agent, capsys)


def test_the_path_offers_its_first_model_once(tmp_path: Path) -> None:
    """What served from the start on does not take the place of what was installed a moment later."""
    first, second = bundle(tmp_path, "first"), bundle(tmp_path, "second")
    with Agent(tmp_path, text(tmp_path) + "[updates]\nsettle_s = 600\n") as agent:
        assert agent.logged("serves on the CPU")
        run("models", "install", second, config=agent.path)
        assert 0 == agent.stop()
    with Repository(tmp_path / "state", "default") as repository:
        assert read_bundle(first).digest == repository.offered("path")
        assert read_bundle(second).digest == repository.current


def test_an_inbox_is_there(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    """In state_dir, per slot; what is copied there serves."""
    second = digest(agent, "second")
    shutil.copytree(agent.path.with_name("second"), agent.path.parent / "state" / "inbox" / "default" / "new")
    assert agent.logged(f"{second[:12]} has taken over")
    assert "current" == states(agent, capsys)[second]


def test_a_name_that_is_no_utf_8(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    """As old Windows and cameras give them: what is written down has its escape."""
    inbox = agent.path.parent / "state" / "inbox" / "default"
    shutil.copytree(agent.path.with_name("second"), inbox.parent / "whole")
    (inbox.parent / "whole").rename(inbox / os.fsdecode(b"caf\xe9"))
    second = digest(agent, "second")
    assert agent.logged(f"{second[:12]} has taken over")
    told = shown(capsys, "models", "list", config=agent.path)["slots"][0]["versions"]
    assert [f"{inbox}/caf\\udce9"] == [each["origin"] for each in told if each["digest"] == second]


def test_force_goes_without_probation(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    """Also for the one that is on probation already."""
    run("models", "install", agent.path.with_name("second"), config=agent.path)
    assert "probation" == settled(agent)["state"]
    told = shown(capsys, "models", "activate", digest(agent, "second"), "--force", config=agent.path)
    assert ("unchanged", "serving") == (told["outcome"], settled(agent)["state"])
    run("models", "activate", digest(agent, "first"), config=agent.path)
    assert "probation" == settled(agent)["state"]
    run("models", "activate", "--force", digest(agent, "second"), config=agent.path)
    assert "serving" == settled(agent)["state"]


def test_what_is_refused_changes_nothing(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    """The person reads why, each time, and so does whoever lists; what served still does."""
    bad = agent.path.with_name("second")
    labels = (bad / "labels.txt").read_text().splitlines()
    (bad / "labels.txt").write_text("\n".join(labels[1:] + labels[:1]))
    for _ in range(2):
        capsys.readouterr()
        run("models", "install", bad, config=agent.path, code=1)
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith(f"error: {bad}: golden image ")
    assert {digest(agent, "first"): "current"} == states(agent, capsys)
    (refused,) = shown(capsys, "models", "list", config=agent.path)["slots"][0]["rejected"]
    assert documented("models/list")["slots"][0]["rejected"][0].keys() == refused.keys()
    assert said == f"error: {refused['reason']}"
    run("status", config=agent.path)
    assert refused["reason"] in " ".join(capsys.readouterr().out.split())  # folded


def test_verify_only_looks(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    """As the agent would prove it, and nothing else happens."""
    second = agent.path.with_name("second")
    arguments = {"path": str(second)}
    told = client(agent).ask("models/verify", arguments, pack(read_bundle(second)))
    assert documented("models/verify").keys() == told.keys()
    assert (True, digest(agent, "second"), str(second)) == (told["ok"], told["digest"], told["path"])
    assert {digest(agent, "first"): "current"} == states(agent, capsys)


def test_one_is_verified_at_a_time(agent: Agent) -> None:
    """Each takes the memory of its bundle: who comes meanwhile is told to try again, and may."""
    second = agent.path.with_name("second")

    def verified(_number: int = 0) -> bool:
        try:
            return bool(client(agent).ask("models/verify", {"path": "/x"}, pack(read_bundle(second)))["ok"])
        except AgentBusyError:
            return False

    with ThreadPoolExecutor(4) as pool:
        assert {True, False} == set(pool.map(verified, range(4)))
    assert verified()


def test_prune_keeps_what_is_configured(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    """``keep`` versions stay; the one that serves and the one before are among them."""
    for name in ("second", "third"):
        run("models", "install", agent.path.with_name(name), config=agent.path)
    assert {"slots": [{"slot": "default", "removed": []}]} == shown(
        capsys, "models", "prune", config=agent.path
    )
    assert 3 == len(states(agent, capsys))


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("models/eat", {}),
    ("", {}),
    ("models/list", {"slot": "dock"}),
    ("models/list", {"slot": 7}),
    ("models/install", {"path": "/export.zip"}),
    ("models/verify", {"path": "/export.zip"}),
    ("models/activate", {}),
    ("models/activate", {"digest": "no digest"}),
    ("models/activate", {"digest": "abcd", "force": "yes"}),
]


def test_a_wrong_request_is_told_so(agent: Agent) -> None:
    """As bad usage, in words; the next one is answered all the same."""
    for verb, arguments in WRONG:
        with pytest.raises(UsageError):
            client(agent).ask(verb, arguments)
    for arguments in ({}, {"path": ""}, {"path": "a\0b"}, {"path": 3}):
        with pytest.raises(UsageError):
            client(agent).ask("models/install", arguments, pack(read_bundle(FINISHES)))
    with pytest.raises(ControlError, match="no model 0000 is installed"):
        client(agent).ask("models/activate", {"digest": "0000"})
    assert "dock" == client(agent).ask("status")["agent"]


def test_the_commands_go_on_without_it(
    agent: Agent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was asked of the agent is there when it has ended, and the other way round. What is still on trial
    is not what is gone back to.
    """
    first, second, third = (digest(agent, name) for name in ("first", "second", "third"))
    run("models", "install", agent.path.with_name("second"), config=agent.path)
    assert 0 == agent.stop()
    with pytest.raises(AgentNotRunningError):
        client(agent).ask("status")
    assert {first: "previous", second: "current"} == states(agent, capsys)
    run("models", "install", agent.path.with_name("third"), config=agent.path)
    places = {"state_dir": tmp_path / "state", "socket": tmp_path / "control.sock"}
    (tmp_path / "again").mkdir()
    with Agent(tmp_path / "again", text(tmp_path, agent=places)) as again:
        assert again.logged("serves on the CPU")
        assert {first: "previous", second: "installed", third: "current"} == states(again, capsys)


def test_a_second_agent_ends(agent: Agent, tmp_path: Path) -> None:
    """Two at one socket could not be told apart: it says who is there, and the first one goes on."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    sections = {"agent": {"socket": tmp_path / "control.sock"}}
    with Agent(elsewhere, text(tmp_path, **sections)) as second:
        assert 1 == second.ends()
        assert second.log(f"another agent listens at {tmp_path / 'control.sock'} (pid {agent.process.pid})")
    assert "dock" == client(agent).ask("status")["agent"]


def test_an_agent_that_cannot_listen_serves(tmp_path: Path) -> None:
    """One warning that names the remedy, and the labels flow."""
    bundle(tmp_path, "first")
    with Agent(tmp_path, text(tmp_path, agent={"socket": "agent.toml/control.sock"})) as agent:
        assert agent.logged("serves on the CPU")
        assert agent.logged("camera scene is online")
        (said,) = agent.log("cannot listen")
        assert "agent.socket" in said
        assert 0 == agent.stop()


def test_what_cannot_be_kept_serves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Until the next start; what needs a place to keep models says so."""
    first, second = bundle(tmp_path, "first"), bundle(tmp_path, "second")
    with Agent(tmp_path, text(tmp_path, agent={"state_dir": "agent.toml"})) as agent:
        assert agent.logged("serves on the CPU")
        told = shown(capsys, "models", "install", second, config=agent.path)
        assert (read_bundle(second).digest, "serving") == (told["digest"], told["outcome"])
        assert {} == states(agent, capsys)
        run("models", "prune", config=agent.path)
        for words in (["rollback"], ["activate", read_bundle(first).digest]):
            capsys.readouterr()
            run("models", *words, config=agent.path, code=1)
            assert "state_dir" in capsys.readouterr().err


def test_of_several_slots_one_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To change something; to look, all are shown. What one slot serves is nothing to the other."""
    first, second = bundle(tmp_path, "first"), bundle(tmp_path, "second")
    both = text(tmp_path) + f'\n[models.other]\npath = "{first}"\n[cameras.b]\nsource = "scene:finishes"\n'
    both = both.replace("[cameras.b]", '[cameras.b]\nmodel = "other"')
    both = both.replace("[cameras.scene]", '[cameras.scene]\nmodel = "default"')
    with Agent(tmp_path, both) as agent:
        assert agent.logged("serves on the CPU", 2)
        with pytest.raises(UsageError, match="several slots: default, other"):
            client(agent).ask("models/rollback")
        run("models", "install", second, "--slot", "other", config=agent.path)
        listed = shown(capsys, "models", "list", config=agent.path)["slots"]
        newest = [each["versions"][0]["digest"] for each in listed]
        assert [read_bundle(first).digest, read_bundle(second).digest] == newest


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the keys")
def test_only_what_is_signed_gets_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With updates.public_key: by the agent, by the commands without it, and as check sees it."""
    private, public = make_key(tmp_path)
    first, second = bundle(tmp_path, "first"), bundle(tmp_path, "second")
    assert 0 == main(["models", "sign", str(first), "--key", str(private)])
    config = text(tmp_path) + f'[updates]\npublic_key = "{public}"\n'
    with Agent(tmp_path, config) as agent:
        assert agent.logged("serves on the CPU")
        run("models", "install", second, config=agent.path, code=1)
        assert f"error: {second}: not signed" in capsys.readouterr().err
        with pytest.raises(ControlError, match="not signed"):
            client(agent).ask("models/verify", {"path": str(second)}, pack(read_bundle(second)))
        assert 0 == agent.stop()
        run("models", "install", second, config=agent.path, code=1)
        assert f"error: {second}: not signed" in capsys.readouterr().err
        assert {read_bundle(first).digest: "current"} == states(agent, capsys)
        agent.configure(config.replace(str(first), str(second)))
        main(["check", "--json", "-c", str(agent.path)])
        found = {each["what"]: each for each in map(json.loads, capsys.readouterr().out.splitlines())}
        assert f"{second}: not signed, and a key is configured" == found["model default"]["found"]


def test_the_demo_keeps_nothing() -> None:
    """It is no agent of this machine: what it writes is its own, and gone with it."""
    with _configured(1, 5.0, 0) as config:
        place = config.agent.state_dir
        assert place.is_dir()
        assert place == config.agent.socket.parent
    assert not place.exists()

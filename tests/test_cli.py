"""__main__.py, program.py and the command group: exit codes, one-line errors, what is imported."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from edge_agent import __version__
from edge_agent.__main__ import main
from edge_agent.cli import COMMANDS, LazyGroup, edge_agent
from edge_agent.config.file import load_config
from edge_agent.errors import CameraError, ConfigError, EdgeAgentError, UsageError

ERRORS: Mapping[str, BaseException] = {
    "agent": CameraError("camera door is gone", "plug it in"),
    "usage": UsageError("no image given"),
    "config": ConfigError("c.toml: bad"),
    "fault": ZeroDivisionError("two\nlines"),
    "file": OSError(5, "bad", "/x"),
    "key": KeyError("a"),
    "interrupt": KeyboardInterrupt(),
}


@click.command()
@click.argument("kind")
def ends(kind: str) -> None:
    """End as the test says."""
    raise ERRORS[kind]


@click.command()
@click.argument("words", nargs=-1)
def says(words: tuple[str, ...]) -> int:
    """Repeat and end with 3."""
    click.echo(" ".join(words))
    return 3


@pytest.fixture(autouse=True)
def _commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two commands more than the program has."""
    monkeypatch.setitem(COMMANDS, "ends", ("tests.test_cli:ends", "End."))
    monkeypatch.setitem(COMMANDS, "says", ("tests.test_cli:says", "Say."))


@pytest.mark.parametrize(
    ("kind", "code", "line"),
    [
        ("agent", 1, "error: camera door is gone; plug it in\n"),
        ("usage", 2, "error: no image given\n"),
        ("config", 78, "error: c.toml: bad\n"),
        ("fault", 1, "error: internal fault: ZeroDivisionError: two lines; run again with --debug\n"),
        ("key", 1, "error: internal fault: KeyError: 'a'; run again with --debug\n"),
        ("file", 1, "error: internal fault: OSError: [Errno 5] bad: '/x'; run again with --debug\n"),
    ],
)
def test_an_error_is_one_line_and_a_code(
    capsys: pytest.CaptureFixture[str], kind: str, code: int, line: str
) -> None:
    """What went wrong, then the remedy, on stderr; never a traceback."""
    assert code == main(["ends", kind])
    assert ("", line) == capsys.readouterr()


def test_an_error_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """What a name holds (an escape sequence, bytes that are no UTF-8) is shown, not sent to the terminal."""
    assert 1 == main(["models", "verify", "/nowhere/\x1b[2J\udcff"])
    assert capsys.readouterr().err.startswith("error: cannot read /nowhere/\\x1b[2J\\udcff: ")


@pytest.mark.parametrize("arguments", [["--debug", "ends", "agent"], ["ends", "agent", "--debug"]])
def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """--debug fits before and behind the command; the line and the code stay."""
    assert 1 == main(arguments)
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert said.endswith("\nerror: camera door is gone; plug it in\n")


def test_behind_two_dashes_debug_is_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    """`--` ends the options, as everywhere; and a command's number is the exit code."""
    assert 3 == main(["says", "--", "--debug"])
    assert "--debug\n" == capsys.readouterr().out


def test_what_the_locale_cannot_write_is_escaped(tmp_path: Path) -> None:
    """The output of a command never ends it: a name that is no Latin-1, or no UTF-8."""
    config = tmp_path / "\udcff\u03b2.toml"
    config.write_text("", "utf-8")
    shown = subprocess.run(
        [sys.executable, "-m", "edge_agent", "config", "show", "-c", str(config)],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=True,
    )
    assert f"# {tmp_path}/\\udcff\\u03b2.toml" == shown.stdout.decode("latin-1").splitlines()[0]


def test_an_interrupt_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C in a command that does not take it as its end: the shell's own code, no word."""
    assert 130 == main(["ends", "interrupt"])
    assert "" == capsys.readouterr().err.strip()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["cofig"], "error: no such command 'cofig' (did you mean 'config'?); see 'edge-agent --help'\n"),
        (["--nope"], "error: no such option: --nope; see 'edge-agent --help'\n"),
        (["config"], "error: missing command; see 'edge-agent config --help'\n"),
        (["models"], "error: missing command; see 'edge-agent models --help'\n"),
        (["ends"], "error: missing argument 'KIND'; see 'edge-agent ends --help'\n"),
    ],
)
def test_bad_usage_is_one_line_and_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    """What is wrong and where to read on."""
    assert 2 == main(arguments)
    said = capsys.readouterr()
    assert ("", line) == (said.out, said.err.replace("option '--nope'", "option: --nope"))


def test_every_error_class_has_a_code() -> None:
    """No error of the tree ends a command with a code that is not published."""

    def tree(error: type[EdgeAgentError]) -> set[type[EdgeAgentError]]:
        return {error}.union(*(tree(child) for child in error.__subclasses__()))

    assert {1, 2, 78} == {error.exit_code for error in tree(EdgeAgentError)}


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_every_command(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Whoever types nothing learns what there is."""
    assert 0 == main(arguments)
    said = capsys.readouterr().out
    assert [] == [name for name in COMMANDS if f"\n  {name} " not in said]
    assert "Examples:" in said


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_explains_itself(name: str) -> None:
    """The table names real commands, each with a help text of its own."""
    command = LazyGroup().get_command(click.Context(edge_agent), name)
    assert command
    assert name == command.name
    assert command.help


def test_what_cannot_be_read_is_no_bad_usage() -> None:
    """The room that reads a file tells why it cannot, with its own exit code; one picture ends no others."""
    seen = 0
    for name in COMMANDS:
        command = edge_agent.get_command(click.Context(edge_agent), name)
        commands = command.commands.values() if isinstance(command, click.Group) else [command]
        for kind in (each.type for one in commands if one is not None for each in one.params):
            if isinstance(kind, click.Path) and not kind.exists:
                assert not kind.readable
                seen += 1
    assert seen > 5


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version names program and version."""
    assert 0 == main(["--version"])
    assert f"edge-agent {__version__}\n" == capsys.readouterr().out


def python(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Another Python, to its end."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=60)


@pytest.mark.parametrize(("pid", "code"), [(1, 143), (4711, -signal.SIGTERM)])
def test_sigterm_ends_process_1_too(pid: int, code: int) -> None:
    """For which the kernel does nothing by itself; one that was sent before waits until it can be heard."""
    script = (
        "import signal\nfrom edge_agent.__main__ import hear_sigterm\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
        f"signal.raise_signal(signal.SIGTERM)\nhear_sigterm({pid})\nsignal.pause()"
    )
    assert code == python("-c", script).returncode


def test_sigterm_is_heard_before_anything_else_is_imported() -> None:
    """What takes time to load comes after."""
    script = "import sys, edge_agent.__main__\nprint('click' in sys.modules)"
    assert "False\n" == python("-c", script).stdout


HEAVY = ["cv2", "numpy", "paho", "pydantic", "rich", "asyncio"]


def test_the_group_imports_nothing_heavy() -> None:
    """--version and --help answer at once on a small machine."""
    script = f"import sys, edge_agent.program\nprint([name for name in {HEAVY} if name in sys.modules])"
    assert "[]\n" == python("-c", script).stdout


def test_the_configuration_needs_no_room() -> None:
    """What reads the configuration imports pydantic, and no camera, model or broker library."""
    script = (
        "import sys, edge_agent.config.file, edge_agent.config.text\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert "['pydantic']\n" == python("-c", script).stdout


def test_runs_as_a_module() -> None:
    """`python -m edge_agent` is the same program."""
    done = python("-m", "edge_agent", "nope")
    assert (2, "") == (done.returncode, done.stdout)
    assert "error: no such command 'nope'; see 'edge-agent --help'\n" == done.stderr


@pytest.mark.parametrize("command", [["config", "schema"], ["--version"]])
def test_a_reader_that_left_is_no_error(command: list[str]) -> None:
    """`edge-agent ... | head` ends without a word."""
    read, write = os.pipe()
    os.close(read)
    done = python("-m", "edge_agent", *command, stdout=write)
    os.close(write)
    assert "" == done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_fault(closed: str) -> None:
    """A worker starts and a command ends well without a terminal, input or output."""
    bundled = Path(__file__).resolve().parent.parent / "models" / "finishes"
    command = [sys.executable, "-m", "edge_agent", "models", "verify", str(bundled)]
    done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *command], check=False, capture_output=True)
    assert (0, b"") == (done.returncode, done.stderr)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", [["config", "schema"], ["--version"]])
def test_a_full_disk_is_told(command: list[str]) -> None:
    """Output that could not be written is never taken for done."""
    with Path("/dev/full").open("w") as full:
        done = python("-m", "edge_agent", *command, stdout=full.fileno())
    line = "error: cannot write the output: No space left on device; send it elsewhere\n"
    assert (1, line) == (done.returncode, done.stderr)


def test_config_init_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Without -o the file goes to stdout, and nothing else does."""
    assert 0 == main(["config", "init"])
    assert "cameras" in tomllib.loads(capsys.readouterr().out)


def test_config_init_writes_what_can_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is whole, readable for the service's user, and no draft is left beside it."""
    path = tmp_path / "etc" / "config.toml"
    assert 0 == main(["config", "init", "-o", str(path)])
    assert f"edge-agent check -c {path}" in capsys.readouterr().err
    assert ["scene"] == list(load_config(path, {}).cameras)
    assert [path] == list(path.parent.iterdir())
    umask = os.umask(0)
    os.umask(umask)
    assert 0o666 & ~umask == stat.S_IMODE(path.stat().st_mode)


def test_config_init_overwrites_only_by_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An edited file is not lost to a second init, even through a link that leads nowhere."""
    path, link = tmp_path / "config.toml", tmp_path / "link.toml"
    path.write_text("mine")
    link.symlink_to(tmp_path / "absent")
    for taken in (path, link):
        assert 1 == main(["config", "init", "-o", str(taken)])
        expected = f"error: {taken} exists; name another file, or add --force to replace it\n"
        assert expected == capsys.readouterr().err
    assert "mine" == path.read_text()
    assert 0 == main(["config", "init", "--force", "-o", str(path)])
    assert path.read_text().startswith("# edge-agent")
    assert {path, link} == set(tmp_path.iterdir())


def test_config_init_cannot_write_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no file can be is told with the way out."""
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "config.toml"
    assert 1 == main(["config", "init", "-o", str(target)])
    expected = f"error: cannot write {target}: {tmp_path / 'file'} is no folder; name another file with -o\n"
    assert expected == capsys.readouterr().err


def test_config_show_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The effective values: the file $EDGE_AGENT_CONFIG names, and the variables over it."""
    path = tmp_path / "config.toml"
    path.write_text("")
    monkeypatch.setenv("EDGE_AGENT_CONFIG", str(path))
    monkeypatch.setenv("EDGE_AGENT_MQTT__HOST", "broker")
    assert 0 == main(["config", "show", "--json"])
    described = json.loads(capsys.readouterr().out)
    assert "broker" == described["values"]["mqtt"]["host"]
    assert "EDGE_AGENT_MQTT__HOST" == described["origins"]["mqtt.host"]
    assert 0 == main(["config", "show"])
    assert "broker" == tomllib.loads(capsys.readouterr().out)["mqtt"]["host"]


def test_a_bad_configuration_is_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A service manager can tell what a restart cannot heal."""
    path = tmp_path / "config.toml"
    assert 78 == main(["config", "show", "-c", str(path)])
    assert f"edge-agent config init -o {path}" in capsys.readouterr().err


def test_config_schema_fits_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    """An editor that checks against the schema accepts what `config init` writes, and refuses a wrong key."""
    jsonschema = pytest.importorskip("jsonschema")
    assert 0 == main(["config", "schema"])
    schema = json.loads(capsys.readouterr().out)
    assert 0 == main(["config", "init"])
    tables = tomllib.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(tables)
    assert not validator.is_valid({**tables, "mqtt": {"hots": "x"}})

"""signature.py and ``edge-agent models sign``: whether a bundle comes from whom we trust, with real keys."""

from __future__ import annotations

import base64
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.__main__ import main
from edge_agent.bundle import read_bundle
from edge_agent.errors import ConfigError, SignatureError, UsageError
from edge_agent.signature import DOMAIN, sign, signature_name, verify
from tests.bundle_samples import MODEL, TWIN, export_files, write_folder, zip_bytes
from tests.keys import make_key, need_openssl, openssl
from tests.places import ROOT

pytestmark = need_openssl


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle."""
    return write_folder(tmp_path / "bundle", export_files())


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """Private and public."""
    return make_key(tmp_path)


def _sign(path: Path, private: Path) -> int:
    return main(["models", "sign", str(path), "--key", str(private)])


def test_a_signed_bundle_is_trusted(
    folder: Path, keys: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Signed by the command, proven by the public key; it is the same bundle, and may be signed again."""
    before = read_bundle(folder)
    for _ in range(2):
        assert 0 == _sign(folder, keys[0])
        assert f"signed: bundle {before.short}, bundle.sig\n" == capsys.readouterr().out
    files = read_bundle(folder)
    verify(files, keys[1])
    assert before.digest == files.digest
    assert ["bundle.sig"] == [part.name for part in files.parts if part.role == "signature"]


@pytest.mark.parametrize("home", ["", "app/", "export/"])
@pytest.mark.parametrize("settings", [{}, {"bundle.toml": b'name = "fruit"'}])
def test_a_zip_can_be_signed(
    tmp_path: Path, keys: tuple[Path, Path], home: str, settings: dict[str, bytes]
) -> None:
    """The signature stands beside bundle.toml, or where that would be; all else stays as it was."""
    path = tmp_path / "x.zip"
    content = {
        f"{home}{name}": each for name, each in {**export_files(), **settings, "LICENSE": b"MIT"}.items()
    }
    path.write_bytes(zip_bytes(content))
    for _ in range(2):
        assert 0 == _sign(path, keys[0])
    verify(read_bundle(path), keys[1])
    with zipfile.ZipFile(path) as archive:
        assert {*content, f"{home}bundle.sig"} == set(archive.namelist())
        assert content == {name: archive.read(name) for name in content}
    assert [] == list(tmp_path.glob(".*"))


def test_a_bundle_that_is_only_compiled_can_be_signed(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    """It has neither manifest nor model.tflite for the signature to stand beside."""
    path = write_folder(tmp_path / "bundle", {"m_edgetpu.tflite": TWIN})
    assert 0 == _sign(path, keys[0])
    verify(read_bundle(path), keys[1])


def test_a_signature_of_openssls_own_is_one(tmp_path: Path, folder: Path, keys: tuple[Path, Path]) -> None:
    """The format is plain: base64 of what openssl signs, and nothing more is needed."""
    message, signature = tmp_path / "message", tmp_path / "signature"
    message.write_bytes(DOMAIN + bytes.fromhex(read_bundle(folder).digest))
    openssl(
        *("pkeyutl", "-sign", "-rawin", "-inkey", str(keys[0])),
        *("-in", str(message), "-out", str(signature)),
    )
    (folder / "bundle.sig").write_bytes(base64.b64encode(signature.read_bytes()))
    verify(read_bundle(folder), keys[1])


def test_without_a_signature_nothing_is_trusted(folder: Path, keys: tuple[Path, Path]) -> None:
    """A configured key makes it mandatory; the error says how to sign."""
    with pytest.raises(SignatureError, match=r"not signed, .*; edge-agent models sign PATH --key KEY"):
        verify(read_bundle(folder), keys[1])


def test_another_key_is_named(tmp_path: Path, folder: Path, keys: tuple[Path, Path]) -> None:
    """Whoever made it, it is not whom we trust."""
    other = make_key(tmp_path, "other")
    _sign(folder, other[0])
    with pytest.raises(SignatureError, match=r"signed by another key, [0-9a-f]{16}, not [0-9a-f]{16}"):
        verify(read_bundle(folder), keys[1])


@pytest.mark.parametrize("name", sorted(export_files()))
def test_a_change_after_signing_is_named(folder: Path, keys: tuple[Path, Path], name: str) -> None:
    """In any file that is used, however small."""
    _sign(folder, keys[0])
    with (folder / name).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(SignatureError, match="changed since it was signed: digest"):
        verify(read_bundle(folder), keys[1])


def _turned(content: bytes) -> bytes:
    first, rest = content.split(b"\n", 1)
    raw = bytearray(base64.b64decode(first))
    raw[7] ^= 1
    return base64.b64encode(raw) + b"\n" + rest


@pytest.mark.parametrize(
    "change",
    [
        lambda _: b"",
        lambda _: b"\xff\x00 no base64",
        lambda content: content[:40],
        _turned,
        lambda content: content.split(b"\n")[0][::-1] + b"\nkey\n: \n",
    ],
)
def test_a_damaged_signature_is_none(
    folder: Path, keys: tuple[Path, Path], change: Callable[[bytes], bytes]
) -> None:
    """Whatever stands in the file: one line that says so."""
    (folder / "bundle.sig").write_bytes(change(sign(read_bundle(folder), keys[0])))
    with pytest.raises(SignatureError, match=r"bundle\.sig is not the configured key's signature"):
        verify(read_bundle(folder), keys[1])


def test_what_the_lines_after_it_say_proves_nothing(folder: Path, keys: tuple[Path, Path]) -> None:
    """A signature of another bundle does not become this one's by saying so."""
    files = read_bundle(folder)
    content = sign(files, keys[0])
    (folder / "labels.txt").write_bytes(b"pear\norange")
    changed = read_bundle(folder)
    (folder / "bundle.sig").write_bytes(content.replace(files.digest.encode(), changed.digest.encode()))
    with pytest.raises(SignatureError):
        verify(read_bundle(folder), keys[1])


def test_a_public_key_that_cannot_be_used(tmp_path: Path, folder: Path, keys: tuple[Path, Path]) -> None:
    """It is the configuration's fault, not the bundle's."""
    (tmp_path / "no.pem").write_text("no key")
    rsa = make_key(tmp_path, "rsa", "-algorithm", "RSA")
    files = read_bundle(folder)
    for path, reason in (
        (tmp_path / "missing.pem", "cannot read the key .*: No such file"),
        (tmp_path / "no.pem", "is no public key in PEM; openssl pkey"),
        (keys[0], "is no public key in PEM; openssl pkey"),
        (rsa[1], "is a public key of another kind than Ed25519"),
    ):
        with pytest.raises(ConfigError, match=reason):
            verify(files, path)


def test_a_private_key_that_cannot_be_used(tmp_path: Path, folder: Path, keys: tuple[Path, Path]) -> None:
    """The error says how to make one."""
    locked = tmp_path / "locked.pem"
    openssl("pkey", "-in", str(keys[0]), "-aes256", "-passout", "pass:x", "-out", str(locked))
    rsa = make_key(tmp_path, "rsa", "-algorithm", "RSA")
    files = read_bundle(folder)
    for path, reason in (
        (tmp_path / "missing.pem", "cannot read the key .*; openssl genpkey -algorithm ed25519"),
        (keys[1], "is no private key in PEM"),
        (locked, "is encrypted; openssl pkey -in"),
        (rsa[0], "is a private key of another kind than Ed25519"),
    ):
        with pytest.raises(UsageError, match=reason):
            sign(files, path)


def test_a_lone_model_cannot_be_signed(
    tmp_path: Path, keys: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no room in it; the error says what to do."""
    (tmp_path / "x.tflite").write_bytes(MODEL)
    assert 2 == _sign(tmp_path / "x.tflite", keys[0])
    assert "a lone .tflite has no room for a signature; put it into a folder" in capsys.readouterr().err


def test_the_signature_stays_where_it_stands(folder: Path) -> None:
    """One at the top is replaced there, though bundle.toml is elsewhere."""
    write_folder(folder, {"app/bundle.toml": b"", "bundle.sig": b"old"})
    assert "bundle.sig" == signature_name(read_bundle(folder))
    (folder / "bundle.sig").unlink()
    assert "app/bundle.sig" == signature_name(read_bundle(folder))


def test_nobody_pays_for_signatures_without_a_key() -> None:
    """The package is 12 MB of memory and 20 ms of a start: it is imported when a key is used."""
    program = (
        "import sys, edge_agent.signature, edge_agent.cli.models; sys.exit('cryptography' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)

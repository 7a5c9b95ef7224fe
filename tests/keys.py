"""Keys as a user makes them, and what they sign."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent.__main__ import main

need_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the keys")


def make_key(folder: Path, name: str = "key", *options: str) -> tuple[Path, Path]:
    """A private key and its public one, made as the command's help says."""
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    kind = options or ("-algorithm", "ed25519")
    openssl("genpkey", *kind, "-out", str(private))
    openssl("pkey", "-in", str(private), "-pubout", "-out", str(public))
    return private, public


def openssl(*arguments: str) -> None:
    """Let it do that."""
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def signed(bundle: Path, private: Path) -> Path:
    """The bundle, with the signature that the command puts beside it."""
    assert main(["models", "sign", str(bundle), "--key", str(private)]) == 0
    return bundle

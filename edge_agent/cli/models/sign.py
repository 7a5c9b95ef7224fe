"""``edge-agent models sign``: says with a key who a bundle comes from."""

from __future__ import annotations

import zipfile
from pathlib import Path

import click

from edge_agent import signature
from edge_agent.bundle import read_bundle
from edge_agent.bundle.archive import ZipEntries, open_entries
from edge_agent.bundle.entries import LoneEntry, relative_name
from edge_agent.errors import BundleError, EdgeAgentError, UsageError


@click.command(
    epilog="""\b
Example:
  openssl genpkey -algorithm ed25519 -out key.pem
  openssl pkey -in key.pem -pubout -out public.pem
  edge-agent models sign export.zip --key key.pem

The agent is configured with public.pem; key.pem stays where models are made."""
)
@click.argument("path", type=click.Path(readable=False, path_type=Path))
@click.option(
    "--key",
    required=True,
    type=click.Path(readable=False, path_type=Path),
    metavar="FILE",
    help="The private key: Ed25519, PEM, not encrypted.",
)
def sign(path: Path, key: Path) -> None:
    """Sign a bundle, a folder or zip: bundle.sig is put into it."""
    entries = open_entries(path)
    if isinstance(entries, LoneEntry):
        raise UsageError(f"{path}: a lone .tflite has no room for a signature", "put it into a folder")
    files = read_bundle(path)
    content, name = signature.sign(files, key), signature.signature_name(files)
    try:
        if isinstance(entries, ZipEntries):
            _put_into_zip(path, name, content)
        else:
            _put(path / name, content)
    except OSError as error:
        raise EdgeAgentError(f"cannot write {path}: {error.strerror}", "sign a copy of it") from error
    if read_bundle(path).digest != files.digest:
        raise BundleError(f"{path} changed while it was signed", "sign it again")
    click.echo(f"signed: {files.name} {files.short}, {name}")


def _put(path: Path, content: bytes) -> None:
    """Whole or not at all, for an agent may be watching. Raises OSError."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    fresh.replace(path)


def _put_into_zip(path: Path, name: str, content: bytes) -> None:
    """In place of one of that name. Raises OSError."""
    fresh = path.with_name(f".{path.name}.new")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            if relative_name(entry.orig_filename, str(path)) != name:
                new.writestr(entry, old.read(entry))
        new.writestr(name, content)
    fresh.replace(path)

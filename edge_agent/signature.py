"""Whether a bundle comes from whom we trust: ``bundle.sig``, an Ed25519 signature over its digest.

The first line of bundle.sig is the signature in base64, over ``edge-agent bundle``, a zero byte and the 32
bytes of the digest. The lines after it, ``key:`` and ``digest:``, say what was signed and by whom; they prove
nothing, and only choose the words of a refusal.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from edge_agent.bundle import BundleFiles
from edge_agent.bundle.layout import SIGNATURE_NAME
from edge_agent.bundle.parts import SIGNATURE
from edge_agent.errors import ConfigError, SignatureError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

DOMAIN = b"edge-agent bundle\0"
"""No signature for another purpose is one for a bundle."""

_SIGN_IT = "edge-agent models sign PATH --key KEY"
_BESIDE = ("settings", "manifest", "model", "model_edgetpu")
"""The roles of the parts that bundle.sig stands beside: the first of them that there is."""


def verify(files: BundleFiles, public_key: Path) -> None:
    """Prove that the holder of the key (Ed25519, PEM) has signed this very bundle.

    Raises SignatureError where not, ConfigError where the key cannot be used.
    """
    key = _public_key(public_key)
    from cryptography.exceptions import InvalidSignature

    content = _signature(files)
    if content is None:
        raise SignatureError(f"{files.path}: not signed, and a key is configured", _SIGN_IT)
    signature, told = _parsed(content)
    try:
        key.verify(signature, _message(files))
    except InvalidSignature:
        raise _refusal(files, key, told) from None


def sign(files: BundleFiles, private_key: Path) -> bytes:
    """The content of bundle.sig, by the key (Ed25519, PEM). Raises UsageError where that cannot be used."""
    key = _private_key(private_key)
    signature = base64.b64encode(key.sign(_message(files))).decode()
    return f"{signature}\nkey: {_name(key.public_key())}\ndigest: {files.digest}\n".encode()


def signature_name(files: BundleFiles) -> str:
    """Where bundle.sig stands in the bundle, or would."""
    names = {part.role: part.name for part in reversed(files.parts)}
    beside = next(names[role] for role in _BESIDE if role in names)
    return names.get(SIGNATURE, str(PurePosixPath(beside).with_name(SIGNATURE_NAME)))


def _message(files: BundleFiles) -> bytes:
    return DOMAIN + bytes.fromhex(files.digest)


def _signature(files: BundleFiles) -> bytes | None:
    return next((part.content for part in files.parts if part.role == SIGNATURE), None)


def _parsed(content: bytes) -> tuple[bytes, dict[str, str]]:
    """The signature, and what is told of it; b"" for what is none."""
    first, *others = content.decode("ascii", errors="replace").splitlines() or [""]
    told = dict(line.split(": ", 1) for line in others if ": " in line)
    try:
        return base64.b64decode(first.strip(), validate=True), told
    except ValueError:
        return b"", told


def _refusal(files: BundleFiles, key: Ed25519PublicKey, told: dict[str, str]) -> SignatureError:
    if told.get("key", _name(key)) != _name(key):
        return SignatureError(
            f"{files.path}: signed by another key, {told['key'][:16]}, not {_name(key)} as configured",
            "sign it with the key that belongs to the configured one",
        )
    if told.get("digest", files.digest) != files.digest:
        return SignatureError(
            f"{files.path}: changed since it was signed: digest {files.short}, not {told['digest'][:12]}",
            f"copy it again, or sign what it is now: {_SIGN_IT}",
        )
    return SignatureError(
        f"{files.path}: its {SIGNATURE_NAME} is not the configured key's signature of it: damaged, or by "
        "another key, or the bundle has changed since it was signed",
        f"copy it again, or sign it: {_SIGN_IT}",
    )


def _name(key: Ed25519PublicKey) -> str:
    """What a key is called: the first 16 digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise ConfigError(_NO_PACKAGE, _INSTALL) from error
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"cannot read the key {path}: {error.strerror}", "check its path and permissions"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is no public key in PEM", _MAKE_PUBLIC) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path} is a public key of another kind than Ed25519", _MAKE_PUBLIC)
    return key


def _private_key(path: Path) -> Ed25519PrivateKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise UsageError(_NO_PACKAGE, _INSTALL) from error
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise UsageError(f"cannot read the key {path}: {error.strerror}", _MAKE_PRIVATE) from error
    except TypeError as error:
        raise UsageError(f"the key {path} is encrypted", f"openssl pkey -in {path} -out PLAIN.pem") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{path} is no private key in PEM", _MAKE_PRIVATE) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} is a private key of another kind than Ed25519", _MAKE_PRIVATE)
    return key


_NO_PACKAGE = "signatures need the package cryptography"
_INSTALL = "pip install 'cryptography>=50'"
_MAKE_PRIVATE = "openssl genpkey -algorithm ed25519 -out KEY.pem"
_MAKE_PUBLIC = "openssl pkey -in KEY.pem -pubout -out PUBLIC.pem makes it of the private one"

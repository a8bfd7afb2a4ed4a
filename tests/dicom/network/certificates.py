"""Certificates of a test's own authority."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from medkit.dicom.network.tls import TlsFiles
from tests.servers.programs import program


@dataclass(frozen=True)
class Certificates:
    """Files of both sides.

    Args:
        server: of 127.0.0.1 and localhost.
        client: of a caller.
        stranger: signed by themselves.
    """

    server: TlsFiles
    client: TlsFiles
    stranger: TlsFiles


def make_certificates(folder: Path) -> Certificates:
    authority = _make(folder, "authority", "CA:TRUE")
    root = folder / "authority.crt"
    assert authority.certificate == root
    names = ["server", "client"]
    made = [_make(folder, name, "CA:FALSE", root) for name in names]
    stranger = _make(folder, "stranger", "CA:FALSE")
    return Certificates(*(TlsFiles(one.certificate, one.key, root) for one in (*made, stranger)))


def _make(folder: Path, name: str, constraint: str, root: Path | None = None) -> TlsFiles:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={name}", "-addext", f"basicConstraints=critical,{constraint}"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    if root is not None:
        command += ["-CA", str(root), "-CAkey", str(root.with_suffix(".key"))]
    subprocess.run(command, check=True, capture_output=True)
    return TlsFiles(certificate, key)

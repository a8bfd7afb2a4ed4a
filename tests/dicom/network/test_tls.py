"""TLS as it should be: peers are checked, and files that cannot be used are told."""

from __future__ import annotations

import ssl
import subprocess

import pytest

from medkit.dicom.network.tls import TlsFiles
from medkit.errors import UsageError
from tests.servers.programs import program


def test_a_caller_checks_certificate_and_name(certificates):
    for files in (certificates.client, TlsFiles()):
        context = files.client_context()
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_node_asks_for_certificates_where_it_can_judge_them(certificates):
    assert certificates.server.server_context().verify_mode == ssl.CERT_REQUIRED
    own = TlsFiles(certificates.server.certificate, certificates.server.key)
    assert own.server_context().verify_mode == ssl.CERT_NONE


def test_a_node_without_a_certificate_is_refused(certificates):
    with pytest.raises(UsageError, match="expected a certificate and its key"):
        TlsFiles(authority=certificates.server.authority).server_context()


def test_files_that_cannot_be_used_are_told(certificates, tmp_path):
    server = certificates.server
    (tmp_path / "none.pem").write_text("no certificate")
    for files in (
        TlsFiles(tmp_path / "missing.pem", server.key),
        TlsFiles(tmp_path / "none.pem", server.key),
        TlsFiles(server.certificate, certificates.client.key),
        TlsFiles(server.certificate, server.key, tmp_path / "none.pem"),
    ):
        with pytest.raises(UsageError, match="expected PEM files"):
            files.server_context()


def test_a_key_with_a_password_is_refused_and_nobody_asked(certificates, tmp_path):
    locked = tmp_path / "locked.key"
    command = [
        program("openssl"),
        "rsa",
        "-aes256",
        "-passout",
        "pass:secret",
        "-in",
        certificates.server.key,
    ]
    subprocess.run([*command, "-out", locked], check=True, capture_output=True)
    with pytest.raises(UsageError, match="a key with a password"):
        TlsFiles(certificates.server.certificate, locked).server_context()

"""TLS for both sides, from files: certificates are always checked, and nothing older than TLS 1.2 is spoken."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medkit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TlsFiles", "tls_fault"]


@dataclass(frozen=True)
class TlsFiles:
    """Certificates and keys, as PEM files; their form is that of the BCP 195 profiles (DICOM PS3.15, B.9).

    Args:
        certificate: our own, with the chain behind it.
        key: its private key, without a password.
        authority: certificates of those whom we trust to vouch for peers. A node asks its callers for certificates
            where this is given; a caller takes the system's authorities where it is not.
    """

    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None

    def server_context(self) -> ssl.SSLContext:
        """For those who call us.

        Raises:
            UsageError: there is no certificate, or a file cannot be used.
        """
        if self.certificate is None:
            raise UsageError("TLS of a node: expected a certificate and its key, got none; name their files")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._load(context)
        if self.authority is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        """For those whom we call: their certificate must be vouched for and bear the host's name.

        Raises:
            UsageError: a file cannot be used.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._load(context)
        if self.authority is None:
            context.load_default_certs()
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key, password=_no_password)
            if self.authority is not None:
                context.load_verify_locations(self.authority)
        except (OSError, ValueError) as error:  # of which SSLError is one
            named = ", ".join(str(path) for path in (self.certificate, self.key, self.authority) if path)
            raise UsageError(
                f"{named}: expected PEM files of a certificate, its key and authorities, got {error}; mend them"
            ) from error


def tls_fault(error: BaseException | None) -> str:
    """Why TLS failed, in the words of OpenSSL, which name no more than hosts; of an error or what lies behind it."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    return str(getattr(error, "reason", None) or "it broke off")


def _no_password() -> str:
    # Without an answer OpenSSL asks the terminal, and waits.
    raise ValueError("a key with a password")

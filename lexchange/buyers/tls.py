"""TLS towards buyers: verified, at least 1.2, and with our own certificate where a buyer asks for one."""

import functools
import ssl

from lexchange.access import TlsFiles

MAX_CONTEXTS = 1_024


@functools.lru_cache(MAX_CONTEXTS)
def tls_context(files: TlsFiles | None) -> ssl.SSLContext:
    """Built when the configuration is loaded, found again by the first connection. Raises OSError, ssl.SSLError too."""
    context = ssl.create_default_context(cafile=files.ca or None if files else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if files and files.certificate:
        context.load_cert_chain(files.certificate, files.key or None, password=_no_password)
    return context


def problem_of(error: Exception) -> str:
    """What is wrong with such files, in OpenSSL's words made readable."""
    if not isinstance(error, ssl.SSLError):
        return str(error)
    return (error.reason or "one of them is no PEM").lower().replace("_", " ")


def _no_password() -> str:
    """OpenSSL would ask the terminal for an encrypted key's password, and wait."""
    raise ValueError("expected a key without a password")

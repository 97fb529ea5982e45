"""Access: how a buyer can tell that it is us who calls. Pure values; a plain header stands in `campaign.py`."""

from dataclasses import dataclass
from enum import StrEnum


class SecretIn(StrEnum):
    """Where a token request carries the client's id and secret."""

    HEADER = "header"
    BODY = "body"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Paths of PEM files: our certificate with its key, and the root that a buyer's own certificate hangs on.

    `fingerprint` is that of their contents, so that a renewed certificate makes new connections.
    """

    certificate: str = ""
    key: str = ""
    ca: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth2Client:
    """Where an access token comes from: the client credentials grant of RFC 6749, section 4.4."""

    token_url: str
    client_id: str
    client_secret: str
    scope: str = ""
    audience: str = ""
    secret_in: SecretIn = SecretIn.HEADER
    tls: TlsFiles | None = None

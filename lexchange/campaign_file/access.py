"""Reads how we show a buyer who we are: his address, passwords, tokens and certificates.

No problem repeats what stands here: it may be a secret.
"""

import hashlib
import ssl
from dataclasses import dataclass
from functools import partial

from lexchange.access import OAuth2Client, SecretIn, TlsFiles
from lexchange.buyers.addresses import Endpoint
from lexchange.buyers.request import check_headers
from lexchange.buyers.tls import problem_of, tls_context
from lexchange.buyers.tokens import basic_header
from lexchange.campaign import Header
from lexchange.campaign_file.reading import Section, Unreadable, Value, is_mapping
from lexchange.campaign_file.references import read_reference, reference_path
from lexchange.campaign_file.scalars import label, matching, one_of, text
from lexchange.campaign_file.scope import Setting

_VARIABLE = matching("[A-Za-z_][A-Za-z0-9_]{0,127}", "the name of an environment variable")
_KINDS = ("basic", "bearer", "oauth2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What goes with every request to a buyer, and over how many connections."""

    header: Header | None = None
    oauth2: OAuth2Client | None = None
    tls: TlsFiles | None = None
    connection_limit: int | None = None


def read_url(value: Value, setting: Setting) -> str:
    """An address; not repeated in a problem, as its query may hold a buyer's key."""
    written = text(value)
    try:
        endpoint = Endpoint.parse(written)
    except ValueError as error:
        raise Unreadable(value, str(error)) from error
    if endpoint.scheme == "http" and not setting.is_dev:
        raise Unreadable(value, "expected https: http is for --dev only")
    return written


def read_secret(value: Value, setting: Setting) -> str:
    """A text, or `{env: NAME}`: what that environment variable holds now."""
    if not is_mapping(value):
        return text(value)
    with Section(value) as section:
        return section.need("env", partial(_read_variable, setting=setting), "")


def _read_variable(value: Value, setting: Setting) -> str:
    variable = _VARIABLE(value)
    written = setting.environment.get(variable, "")
    if not written.strip():
        raise Unreadable(value, f"expected the environment variable {variable} to be set")
    return written


# ---------------------------------------------------------------------------------------------------------------- auth


def read_auth(value: Value, setting: Setting, tls: TlsFiles | None) -> Access:
    """One of basic, bearer and oauth2."""
    with Section(value) as section:
        given = section.given(*_KINDS)
        if len(given) != 1:
            raise Unreadable(value, f"expected one of {', '.join(_KINDS)}; got {' and '.join(given) or 'none'}")
        if given == ["oauth2"]:
            oauth2 = section.need("oauth2", partial(_read_oauth2, setting=setting, tls=tls), None)
            return Access(oauth2=oauth2, tls=tls)
        read = _read_basic if given == ["basic"] else _read_bearer
        return Access(header=section.need(given[0], partial(read, setting=setting), None), tls=tls)


def _read_basic(value: Value, setting: Setting) -> Header:
    with Section(value) as section:
        username = section.need("username", partial(read_secret, setting=setting), "")
        password = section.need("password", partial(read_secret, setting=setting), "")
        if ":" in username:
            raise Unreadable(value, "expected a username without a colon")
        return _header(value, basic_header(f"{username}:{password}")[1])


def _read_bearer(value: Value, setting: Setting) -> Header:
    return _header(value, f"Bearer {read_secret(value, setting)}")


def _header(value: Value, written: str) -> Header:
    try:
        check_headers([("Authorization", written)])
    except ValueError as error:
        raise Unreadable(value, "expected at most 8192 characters without line breaks") from error
    return Header(name="Authorization", value=written, is_secret=True)


def _read_oauth2(value: Value, setting: Setting, tls: TlsFiles | None) -> OAuth2Client:
    secret = partial(read_secret, setting=setting)
    with Section(value) as section:
        return OAuth2Client(
            token_url=section.need("token_url", partial(read_url, setting=setting), ""),
            client_id=section.need("client_id", secret, ""),
            client_secret=section.need("client_secret", secret, ""),
            scope=section.take("scope", label, ""),
            audience=section.take("audience", label, ""),
            secret_in=section.take("secret_in", one_of(SecretIn), SecretIn.HEADER),
            tls=tls,
        )


# ----------------------------------------------------------------------------------------------------------------- TLS


def read_tls(value: Value, setting: Setting) -> TlsFiles:
    """Our certificate and its key, the root of the buyer's, or both; tried out, to hear of a wrong file now."""
    with Section(value) as section:
        given = section.given("certificate", "key", "ca")
        if not given or given == ["key"]:
            raise Unreadable(value, "expected a certificate, a ca, or both")
        digest, paths = hashlib.sha256(), {}
        for name in given:
            found = section.find(name)
            assert found is not None
            digest.update(read_reference(found, setting.secrets).content)
            paths[name] = reference_path(found)
        files = TlsFiles(**paths, fingerprint=digest.hexdigest())
        try:
            tls_context(files)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise Unreadable(value, f"expected PEM files that fit each other; got: {problem_of(error)}") from error
        return files

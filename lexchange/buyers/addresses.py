"""Where a buyer may be reached: the parsed URL of an endpoint, and the rule over numeric addresses.

Pure: it resolves no name and opens no connection. The client asks the rule for every new connection, after resolving,
so that a name which turns to an inner address later (DNS rebinding) is refused as well.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from lexchange.access import TlsFiles

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_URL_LENGTH = 2_048

# Printable ASCII without space and without what RFC 3986 allows nowhere in a URL.
_URL_TEXT = re.compile(r'[^\x00-\x20"<>\\^`{|}\x7f-\U0010ffff]*')
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<target>[^#]*)(?P<fragment>#.*)?")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]*\]|[^:\[\]]*)(?::(?P<port>[^:]*))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A buyer's URL, parsed once when the configuration is loaded.

    `target` is path and query as sent; `authority` is the Host header. `origin` is what connections are shared by.
    `connection_limit` is how many there may be at once; None: as many as the client allows.
    """

    scheme: str
    host: str
    port: int
    target: bytes
    authority: str
    tls: TlsFiles | None = None
    connection_limit: int | None = None
    origin: str = field(init=False)

    def __post_init__(self) -> None:
        own = f"#{self.tls}#{self.connection_limit}" if self.tls or self.connection_limit else ""
        object.__setattr__(self, "origin", f"{self.scheme}://{self.host}:{self.port}{own}")

    @classmethod
    def parse(cls, url: str, *, tls: TlsFiles | None = None, connection_limit: int | None = None) -> "Endpoint":
        """Read an http or https URL; raises ValueError saying what was expected, never quoting the URL's secrets."""
        if len(url) > MAX_URL_LENGTH:
            raise ValueError(f"expected a URL of at most {MAX_URL_LENGTH} characters")
        if not _URL_TEXT.fullmatch(url):
            raise ValueError('expected a URL of ASCII without spaces, control characters or any of "<>\\^`{|}')
        parts = _URL.fullmatch(url)
        scheme = parts["scheme"].lower() if parts else ""
        if parts is None or scheme not in DEFAULT_PORTS:
            raise ValueError("expected a URL that starts with https:// or http://")
        if parts["fragment"] is not None:
            raise ValueError("expected a URL without a #fragment, which is never sent")
        host, port = _parse_authority(parts["authority"], DEFAULT_PORTS[scheme])
        name = f"[{host}]" if ":" in host else host
        target = parts["target"]
        return cls(
            scheme=scheme,
            host=host,
            port=port,
            target=(target if target.startswith("/") else "/" + target).encode("ascii"),
            authority=name if port == DEFAULT_PORTS[scheme] else f"{name}:{port}",
            tls=tls,
            connection_limit=connection_limit,
        )


def _parse_authority(authority: str, default_port: int) -> tuple[str, int]:
    if "@" in authority:
        raise ValueError("expected a URL without user name or password: use an Authorization header")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None or not parts["host"]:
        raise ValueError("expected a host name, an IPv4 address or an IPv6 address in brackets")
    port_text = parts["port"]
    if port_text is None:
        return _parse_host(parts["host"].lower()), default_port
    if not re.fullmatch(r"[0-9]{1,5}", port_text) or not 1 <= int(port_text) <= 65_535:
        raise ValueError("expected a port from 1 to 65535")
    return _parse_host(parts["host"].lower()), int(port_text)


def _parse_host(host: str) -> str:
    """The host in its one canonical spelling; odd spellings of numbers are refused because resolvers differ on them."""
    if host.startswith("["):
        try:
            return str(IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError("expected an IPv6 address between the brackets") from None
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("expected a host name of dot-separated letters, digits and hyphens (IDNs in punycode)")
    if _NUMBER_LABEL.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise ValueError("expected a numeric host as four decimal numbers, such as 203.0.113.7") from None
    return host


# --------------------------------------------------------------------------------------------------- address rule

# Whoever can make us talk to one of these reads the machine's cloud credentials.
_METADATA = (
    IPv4Network("169.254.0.0/16"),
    IPv4Network("168.63.129.16/32"),
    IPv4Network("100.100.100.200/32"),
    IPv4Network("192.0.0.192/32"),
    IPv6Network("fe80::/10"),
    IPv6Network("fd00:ec2::/32"),
    IPv6Network("fd20:ce::/32"),
)
_LOOPBACK_AND_PRIVATE = (
    IPv4Network("127.0.0.0/8"),
    IPv4Network("10.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv6Network("::1/128"),
    IPv6Network("fc00::/7"),
)
# What some Python version calls global although nobody's buyer lives there.
_SPECIAL = (
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("2001::/23"),
    IPv6Network("2001:db8::/32"),
    IPv6Network("3fff::/20"),
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE = IPv6Network("::/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRule:
    """Which numeric addresses may be connected to: global ones, and what the operator lists.

    `allow_loopback_and_private` is for development: 127.0.0.0/8, RFC 1918 and their IPv6 kin, never link-local.
    """

    allow_loopback_and_private: bool = False
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def refuse(self, address: str | IPv4Address | IPv6Address) -> str | None:
        """Why `address` may not be connected to; None when it may."""
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return "not a numeric address"
        return self._refuse(ip)

    def _refuse(self, ip: IPv4Address | IPv6Address) -> str | None:
        if _is_in(ip, self.allowed_networks):
            return None
        if isinstance(ip, IPv6Address) and (embedded := _embedded(ip)):
            verdicts = (self._refuse(inner) for inner in embedded)
            return next((f"{ip} wraps another address: {why}" for why in verdicts if why), None)
        if _is_in(ip, _METADATA):
            return f"{ip} is link-local or a cloud metadata address"
        if self.allow_loopback_and_private and _is_in(ip, _LOOPBACK_AND_PRIVATE):
            return None
        if ip.is_multicast:
            return f"{ip} is multicast"
        is_unicast = isinstance(ip, IPv4Address) or ip in _GLOBAL_UNICAST
        if not ip.is_global or not is_unicast or _is_in(ip, _SPECIAL):
            return f"{ip} is not a global address"
        return None


def _is_in(ip: IPv4Address | IPv6Address, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    return any(ip in network for network in networks)


def _embedded(ip: IPv6Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that a transition address delivers to: they decide instead of the wrapping."""
    if ip.ipv4_mapped is not None:
        return (ip.ipv4_mapped,)
    if ip.sixtofour is not None:
        return (ip.sixtofour,)
    if ip.teredo is not None:
        return ip.teredo
    is_compatible = ip in _IPV4_COMPATIBLE and int(ip) > 1  # :: and ::1 are themselves
    if is_compatible or ip in _NAT64:
        return (IPv4Address(int(ip) & 0xFFFF_FFFF),)
    return ()

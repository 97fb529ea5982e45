"""Which URLs are read, and which addresses may be connected to."""

from ipaddress import IPv4Network, IPv6Network

import pytest

from lexchange.access import TlsFiles
from lexchange.buyers.addresses import AddressRule, Endpoint

# ---------------------------------------------------------------------------------------------------- URLs

GOOD_URLS = [
    # url, scheme, host, port, target, authority
    ("https://acme.example/ping", "https", "acme.example", 443, b"/ping", "acme.example"),
    ("http://acme.example", "http", "acme.example", 80, b"/", "acme.example"),
    (
        "HTTPS://ACME.Example:8443/Ping?a=1&b=%20",
        "https",
        "acme.example",
        8443,
        b"/Ping?a=1&b=%20",
        "acme.example:8443",
    ),
    ("https://acme.example:443/", "https", "acme.example", 443, b"/", "acme.example"),
    ("http://acme.example?x=1", "http", "acme.example", 80, b"/?x=1", "acme.example"),
    ("http://203.0.113.7:80/p", "http", "203.0.113.7", 80, b"/p", "203.0.113.7"),
    ("http://[2001:DB8:0:0::1]:8080/p", "http", "2001:db8::1", 8080, b"/p", "[2001:db8::1]:8080"),
    ("https://xn--bcher-kva.example/", "https", "xn--bcher-kva.example", 443, b"/", "xn--bcher-kva.example"),
    ("https://a_b-c.example/", "https", "a_b-c.example", 443, b"/", "a_b-c.example"),
    ("https://acme.example//x/../y", "https", "acme.example", 443, b"//x/../y", "acme.example"),
]


@pytest.mark.parametrize(("url", "scheme", "host", "port", "target", "authority"), GOOD_URLS)
def test_parse_reads_a_url_when_it_is_plain(url, scheme, host, port, target, authority):
    """A URL becomes the parts that are sent, with the default port left out of the Host header."""
    endpoint = Endpoint.parse(url)

    assert (endpoint.scheme, endpoint.host, endpoint.port) == (scheme, host, port)
    assert (endpoint.target, endpoint.authority) == (target, authority)


BAD_URLS = [
    ("", "https://"),
    ("acme.example/ping", "https://"),
    ("//acme.example/ping", "https://"),
    ("ftp://acme.example/", "https://"),
    ("file:///etc/passwd", "https://"),
    ("gopher://127.0.0.1:6379/_INFO", "https://"),
    ("javascript://acme.example/", "https://"),
    ("http:/acme.example/", "https://"),
    ("http:///ping", "host name"),
    ("http://:80/", "host name"),
    ("https://user@acme.example/", "user name"),
    ("https://user:secret@acme.example/", "user name"),
    ("https://acme.example@127.0.0.1/", "user name"),
    ("https://acme.example/#top", "#fragment"),
    ("https://acme.example#@127.0.0.1/", "#fragment"),
    ("https://acme.example/a b", "without spaces"),
    ("https://acme.example/\r\nHost: evil", "without spaces"),
    ("https://acme.example/\x00", "without spaces"),
    ("https://acme.example\t/", "without spaces"),
    ("https://acme.example/\x7f", "without spaces"),
    ("https://acme.example/ü", "ASCII"),
    ("https://bücher.example/", "ASCII"),
    ("https://acme.example\\@127.0.0.1/", "without spaces"),
    ("https://acme.example/{zip}", "without spaces"),
    ("http://１２７.0.0.1/", "ASCII"),
    ("http://①②⑦.0.0.1/", "ASCII"),
    ("http://127。0。0。1/", "ASCII"),
    ("https://acme.example:/", "port"),
    ("https://acme.example:0/", "port"),
    ("https://acme.example:65536/", "port"),
    ("https://acme.example:8o/", "port"),
    ("https://acme.example:80:80/", "host name"),
    ("https://acme..example/", "host name"),
    ("https://.acme.example/", "host name"),
    ("https://acme.example./", "host name"),
    ("https://-acme.example/", "host name"),
    ("https://acme%2eexample/", "host name"),
    ("https://%31%32%37.0.0.1/", "host name"),
    ("https://acme.example,127.0.0.1/", "host name"),
    ("https://" + "a" * 64 + ".example/", "host name"),
    ("https://" + "a." * 126 + "example/", "host name"),
    ("https://acme.example/" + "a" * 2048, "at most 2048"),
    ("http://2130706433/", "four decimal numbers"),
    ("http://017700000001/", "four decimal numbers"),
    ("http://0x7f000001/", "four decimal numbers"),
    ("http://0x7F.1/", "four decimal numbers"),
    ("http://127.1/", "four decimal numbers"),
    ("http://127.0.1/", "four decimal numbers"),
    ("http://0177.0.0.1/", "four decimal numbers"),
    ("http://0x7f.0.0.0x1/", "four decimal numbers"),
    ("http://127.0.0.1.1/", "four decimal numbers"),
    ("http://256.0.0.1/", "four decimal numbers"),
    ("http://1.2.3.04/", "four decimal numbers"),
    ("http://0/", "four decimal numbers"),
    ("http://acme.example.1/", "four decimal numbers"),
    ("http://[::1/", "host name"),
    ("http://::1/", "host name"),
    ("http://[127.0.0.1]/", "IPv6 address"),
    ("http://[]/", "IPv6 address"),
    ("http://[fe80::1%eth0]/", "host name"),
    ("http://[::1]x/", "host name"),
]


@pytest.mark.parametrize(("url", "expected"), BAD_URLS)
def test_parse_says_what_it_expected_when_a_url_is_odd(url, expected):
    """A URL that any two programs might read differently is refused, in words that do not repeat it."""
    with pytest.raises(ValueError, match="expected") as refusal:
        Endpoint.parse(url)

    assert expected in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_origin_differs_when_connections_may_not_be_shared():
    """Scheme, host, port and TLS context decide which calls may share a connection; the path does not."""
    urls = ["http://a.example/x", "https://a.example/x", "http://a.example:81/x", "http://b.example/x"]

    origins = {Endpoint.parse(url).origin for url in urls} | {
        Endpoint.parse(urls[1], tls=TlsFiles(certificate="ours.pem")).origin
    }

    assert len(origins) == 5
    assert Endpoint.parse("http://a.example/x").origin == Endpoint.parse("http://A.example:80/y?z").origin


# ----------------------------------------------------------------------------------------------- addresses

METADATA = [
    "169.254.169.254",
    "169.254.0.1",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "fe80::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
]
LOOPBACK_AND_PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "::1",
    "fc00::1",
    "fd12:3456::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::10.0.0.1",
    "2002:7f00:1::",
    "2002:c0a8:1::1",
    "::127.0.0.1",
    "::10.0.0.1",
]
NOWHERE = [
    "0.0.0.0",
    "0.1.2.3",
    "100.64.0.1",
    "100.127.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::ffff:0.0.0.0",
    "::ffff:224.0.0.1",
    "64:ff9b::224.0.0.1",
    "64:ff9b:1::1",
    "100::1",
    "2001:db8::1",
    "2001:2::1",
    "2001:10::1",
    "2001:0:a9fe:a9fe::1",  # Teredo through an inner server
    "2001:0:808:808::5601:5601",  # Teredo towards the inner client 169.254.169.254
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "acme.example",
    "127.1",
    "",
]
GLOBAL = [
    "8.8.8.8",
    "1.1.1.1",
    "172.15.255.255",
    "172.32.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "169.253.255.255",
    "192.167.255.255",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", [*METADATA, *LOOPBACK_AND_PRIVATE, *NOWHERE])
def test_address_is_refused_when_it_is_not_global(address):
    """Only the public internet is connected to, however an inner address is wrapped."""
    assert AddressRule().refuse(address) is not None


@pytest.mark.parametrize("address", GLOBAL)
def test_address_is_allowed_when_it_is_global(address):
    """A public buyer is reachable, right up to the borders of the reserved ranges."""
    assert AddressRule().refuse(address) is None


@pytest.mark.parametrize("address", [*LOOPBACK_AND_PRIVATE, *GLOBAL])
def test_address_is_allowed_in_development_when_it_is_loopback_or_private(address):
    """The development profile reaches this machine and its private networks."""
    assert AddressRule(allow_loopback_and_private=True).refuse(address) is None


@pytest.mark.parametrize("address", [*METADATA, *NOWHERE])
def test_address_is_refused_in_development_when_it_is_neither(address):
    """Cloud metadata and reserved ranges stay closed in development too."""
    assert AddressRule(allow_loopback_and_private=True).refuse(address) is not None


def test_address_is_allowed_when_the_operator_lists_its_network():
    """A listed network is open, its neighbours are not."""
    rule = AddressRule(allowed_networks=(IPv4Network("10.1.0.0/16"), IPv6Network("fd00:1::/32")))

    assert rule.refuse("10.1.255.255") is None
    assert rule.refuse("fd00:1::5") is None
    assert rule.refuse("::ffff:10.1.0.1") is None
    assert rule.refuse("10.2.0.0") is not None
    assert rule.refuse("fd00:2::5") is not None


def test_refusal_names_the_address_and_why():
    """The operator reads from the refusal what was resolved and what is wrong with it."""
    rule = AddressRule()

    assert rule.refuse("10.0.0.1") == "10.0.0.1 is not a global address"
    assert rule.refuse("ff02::1") == "ff02::1 is multicast"
    assert rule.refuse("169.254.169.254") == "169.254.169.254 is link-local or a cloud metadata address"
    assert rule.refuse("64:ff9b::10.0.0.1") == (
        "64:ff9b::a00:1 wraps another address: 10.0.0.1 is not a global address"
    )
    assert rule.refuse("acme.example") == "not a numeric address"

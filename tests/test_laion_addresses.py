"""Laws of which addresses may be fetched from, and of connecting to what was checked."""

import socket
import threading
from ipaddress import ip_address

import pytest

from ode_vgan.laion.addresses import AddressRefused, connect, may_connect, resolve, split_url
from ode_vgan.laion.client import Client, FetchFailed, Manners

PRIVATE = """0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16 169.254.1.1
169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.168.0.1 198.18.0.1 198.51.100.7 203.0.113.9
224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 :: ::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::7f00:1 64:ff9b::7f00:1
64:ff9b:1::1 100::1 2001::1 2001:db8::1 2002:7f00:1::1 2002:808:808::1 3fff::1 fc00::1 fd00:ec2::254 fe80::1
fe80::1%eth0 fec0::1 ff02::1""".split()
PUBLIC = "8.8.8.8 1.1.1.1 93.184.216.34 172.32.0.1 172.15.255.255 100.128.0.1 2606:4700::1111 2a00:1450::1".split()


def found(*addresses):
    """A resolver that gives these addresses for whatever host."""
    return lambda host, port, **options: [(0, 0, 0, "", (one, port)) for one in addresses]


@pytest.mark.parametrize("address", PRIVATE)
def test_no_address_but_a_public_hosts_is_connected_to(address):
    assert not may_connect(ip_address(address))
    with pytest.raises(AddressRefused, match="private"):
        resolve(split_url("http://example.com/a.gif"), lookup=found(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are(address):
    assert may_connect(ip_address(address))
    assert resolve(split_url("http://example.com/"), lookup=found(address)) == [ip_address(address)]


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "192.168.3.4", "::1", "fd12::1", "fe80::1%eth0"])
def test_a_flag_opens_private_hosts(address):
    assert may_connect(ip_address(address), allow_private=True)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fd00:ec2::254", "0.0.0.0", "224.0.0.1", "::ffff:127.0.0.1", "::"]
)
def test_no_flag_opens_metadata_multicast_or_other_spellings(address):
    assert not may_connect(ip_address(address), allow_private=True)


def test_one_private_answer_among_public_ones_refuses_the_host():
    with pytest.raises(AddressRefused, match="private"):
        resolve(split_url("http://rebinding.example/"), lookup=found("8.8.8.8", "127.0.0.1"))


def test_an_exception_is_for_one_address_and_port():
    allow, lookup = ("127.0.0.1:8000", "[::1]:8000"), found("127.0.0.1")
    assert resolve(split_url("http://localhost:8000/"), allow=allow, lookup=lookup)
    assert resolve(split_url("http://localhost:8000/"), allow=allow, lookup=found("::1"))
    for url, answers in (("http://localhost:8001/", lookup), ("http://localhost:8000/", found("127.0.0.2"))):
        with pytest.raises(AddressRefused):
            resolve(split_url(url), allow=allow, lookup=answers)


@pytest.mark.parametrize(
    "url",
    [
        *("http://2130706433/", "http://0x7f000001/", "http://017700000001/", "http://0177.0.0.1/", "http://127.1/"),
        *(
            "http://0x7f.0.0.1/",
            "http://1.2.3/",
            "http://example.0x7f/",
            "http://999.1.1.1/",
        ),
    ],
)
def test_ipv4_has_one_spelling(url):
    with pytest.raises(AddressRefused, match="number"):
        split_url(url)
    assert split_url("http://127.0.0.1./").host == "127.0.0.1"  # a last dot is no other host


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "scheme"),
        ("ftp://example.com/a.gif", "scheme"),
        ("gopher://example.com/", "scheme"),
        ("data:image/gif;base64,R0lGODlh", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("//example.com/a.gif", "scheme"),
        ("a.gif", "scheme"),
        ("http://user@example.com/", "user name"),
        ("http://user:password@example.com/", "user name"),
        ("http://example.com@127.0.0.1/", "user name"),
        ("http://@127.0.0.1/", "user name"),
        ("http://example.com:22/", "port"),
        ("http://example.com:25/", "port"),
        ("http://example.com:0/", "port"),
        ("http://example.com:99999/", "malformed"),
        ("http://example.com:x/", "malformed"),
        ("http:///a.gif", "malformed"),
        ("http://[::1/", "malformed"),
        ("http://[v1.a]/", "malformed"),
        ("http://exa mple.com/", "malformed"),
        ("http://example.com/a\r\nHost: b", "malformed"),
        ("http://example.com\\@127.0.0.1/", "malformed"),
        ("http://127.0.0.1%2f.example.com/", "malformed"),
        ("http://" + "a" * 64 + ".com/", "malformed"),
        ("http://example.com/" + "a" * 5000, "malformed"),
    ],
)
def test_urls_that_are_refused_say_why(url, reason):
    with pytest.raises(AddressRefused, match=reason):
        split_url(url)


def test_a_target_is_what_is_sent():
    target = split_url("https://Bücher.example:8443/clips/ä b.gif?x=1&y=ü#part".replace(" ", "%20"))
    assert (target.scheme, target.host, target.port) == ("https", "xn--bcher-kva.example", 8443)
    assert target.path == "/clips/%C3%A4%20b.gif?x=1&y=%C3%BC"
    assert target.site == "https://xn--bcher-kva.example:8443"
    assert split_url("http://EXAMPLE.com").site == "http://example.com"
    assert split_url("http://[2606:4700::1111]:8080/").authority == "[2606:4700::1111]:8080"


def test_full_width_digits_are_the_address_that_they_spell():
    with pytest.raises(AddressRefused, match="private"):
        resolve(split_url("http://１２７.０.０.１/"))


def test_a_host_without_an_address_is_not_found():
    def nowhere(*arguments, **options):
        raise socket.gaierror("no such name")

    for lookup in (nowhere, found()):
        with pytest.raises(AddressRefused, match="host not found"):
            resolve(split_url("http://nowhere.invalid/"), lookup=lookup)


def test_the_connection_goes_to_the_address_that_was_checked():
    """A name that changes its mind after the check is not asked again."""
    answers = [["127.0.0.1"], ["10.255.255.1"]]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve():
            line, _ = listener.accept()
            with line:
                line.recv(4096)
                line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

        thread = threading.Thread(target=serve)
        thread.start()
        client = Client(
            Manners(allow=(f"127.0.0.1:{port}",), total_seconds=5),
            lookup=lambda host, port, **options: found(*answers.pop(0))(host, port),
        )
        assert client.get(f"http://rebinding.example:{port}/a.gif").body == b"hi"
        thread.join()
    assert answers == [["10.255.255.1"]]


def test_dns_that_leads_to_loopback_is_refused():
    client = Client(Manners(retries=0), lookup=found("127.0.0.1"))
    with pytest.raises(FetchFailed, match="address refused: private"):
        client.get("http://innocent.example/a.gif")


def test_connecting_ends_when_nobody_answers_in_time():
    with pytest.raises(OSError):
        connect([ip_address("127.0.0.1")], 9, -1.0)

"""Laws of a polite and suspicious GET, against real sockets."""

import gzip
import socket
import threading
import time
import zlib
from contextlib import contextmanager, suppress

import pytest

from ode_vgan.laion.addresses import split_url
from ode_vgan.laion.client import Client, FetchFailed, Manners
from ode_vgan.laion.hosts import Hosts, interleaved
from ode_vgan.laion.optout import agent_token, refusal
from ode_vgan.laion.robots import MAX_BYTES, Robots

OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def speaking(*answers):
    """A server that gives each connection the next answer: bytes, or a function of the socket; yields url, requests."""
    requests, queue = [], list(answers)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        over = threading.Event()

        def serve():
            while not over.is_set():
                with suppress(TimeoutError, ConnectionError):
                    line, _ = listener.accept()
                    with line:
                        line.settimeout(5)
                        requests.append(line.recv(65536).decode())
                        answer = queue.pop(0) if len(queue) > 1 else queue[0]
                        answer(line) if callable(answer) else line.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
        finally:
            over.set()
            thread.join()


def client(url: str, **changes) -> Client:
    quick = {"connect_seconds": 1, "read_seconds": 1, "total_seconds": 1.5, "backoff_seconds": 0.01, "retries": 2}
    return Client(Manners(allow=(url.removeprefix("http://"),), **(quick | changes)))


def whole(body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers).encode()
    return OK + b"Content-Length: %d\r\n" % len(body) + lines + b"\r\n" + body


def failure(url: str, path: str = "/a.gif", **changes) -> FetchFailed:
    with pytest.raises(FetchFailed) as caught:
        client(url, **changes).get(url + path)
    return caught.value


def test_a_body_comes_back_and_the_request_says_who_asks():
    with speaking(whole(b"clip", "X-Robots-Tag: nofollow")) as (url, requests):
        reply = client(url).get(url + "/a%20b.gif?x=1#part")
    assert (reply.body, reply.x_robots) == (b"clip", "nofollow")
    head, *lines = requests[0].split("\r\n")
    assert head == "GET /a%20b.gif?x=1 HTTP/1.1"
    assert f"Host: {url[7:]}" in lines and any(line.startswith("User-Agent: ode_vgan/") for line in lines)


def test_a_slow_drip_ends_at_the_deadline():
    def drip(start: bytes):
        def answer(line):
            line.sendall(start)
            for _ in range(100):
                line.sendall(b"a")
                time.sleep(0.1)

        return answer

    for start in (OK + b"Content-Length: 1000\r\n\r\n", OK + b"X-Slow: ", b""):
        with speaking(drip(start)) as (url, _):
            begun = time.monotonic()
            assert str(failure(url, total_seconds=0.8)) == "timeout"
            assert time.monotonic() - begun < 2.5


def test_silence_ends_sooner():
    with speaking(lambda line: time.sleep(1.5)) as (url, _):
        begun = time.monotonic()
        assert str(failure(url, read_seconds=0.3, total_seconds=30)) == "timeout"
        assert time.monotonic() - begun < 1.4


def test_no_more_bytes_are_taken_than_allowed_whatever_the_length_says():
    def endless(line):
        line.sendall(OK + b"\r\n")
        for _ in range(2000):
            line.sendall(bytes(10_000))

    for answer in (endless, whole(bytes(1001)), OK + b"Content-Length: 99999999\r\n\r\n"):
        with speaking(answer) as (url, _):
            assert str(failure(url, max_bytes=1000)) == "too many bytes"
    with speaking(whole(bytes(1000))) as (url, _):
        assert len(client(url, max_bytes=1000).get(url).body) == 1000


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate"])
def test_encodings_are_undone_and_bombs_are_not(coding):
    pack = zlib.compress if coding == "deflate" else gzip.compress
    with speaking(whole(pack(b"clip" * 100), f"Content-Encoding: {coding}")) as (url, _):
        assert client(url).get(url).body == b"clip" * 100
    with speaking(whole(pack(bytes(20_000_000)), f"Content-Encoding: {coding}")) as (url, _):
        assert str(failure(url, max_bytes=100_000)) == "too many bytes"


def test_broken_and_unknown_encodings_are_failures():
    packed = gzip.compress(b"clip" * 100)
    answers = {
        whole(packed[:-20], "Content-Encoding: gzip"): "truncated",
        whole(b"no gzip", "Content-Encoding: gzip"): "malformed reply",
        whole(packed, "Content-Encoding: gzip, gzip"): "encoding refused",
        whole(packed, "Content-Encoding: br"): "encoding refused",
    }
    for answer, message in answers.items():
        with speaking(answer) as (url, _):
            assert str(failure(url)) == message


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 abc\r\n\r\n", OK + b"A: " + b"b" * 70_000 + b"\r\n\r\n"]
)
def test_what_is_not_http_is_malformed(answer):
    with speaking(answer) as (url, _):
        assert str(failure(url, retries=0)) in ("malformed reply", "connection failed")


def test_a_body_that_breaks_off_is_asked_for_again_and_then_named():
    for answer in (OK + b"Content-Length: 10\r\n\r\nhalf", OK + b"Transfer-Encoding: chunked\r\n\r\na\r\nhalf"):
        with speaking(answer) as (url, requests):
            assert str(failure(url, retries=1)) == "truncated"
        assert len(requests) == 2
        with speaking(answer, whole(b"whole")) as (url, _):
            assert client(url).get(url).body == b"whole"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(status):
    with speaking(b"HTTP/1.1 %d Busy\r\n\r\n" % status, whole(b"clip")) as (url, requests):
        assert client(url).get(url).body == b"clip"
    assert len(requests) == 2


@pytest.mark.parametrize("status", [204, 206, 301, 304, 400, 401, 403, 404, 410, 451])
def test_other_answers_are_final(status):
    with speaking(b"HTTP/1.1 %d No\r\n\r\n" % status) as (url, requests):
        error = failure(url)
    assert (str(error), error.status, len(requests)) == (f"HTTP {status}", status, 1)


def test_the_wait_is_what_the_server_asks_for_up_to_a_cap():
    for asked, waited in (("0", 0.0), ("86400", 0.3), ("Fri, 31 Dec 2100 23:59:59 GMT", 0.3), ("soon", 0.1)):
        answer = f"HTTP/1.1 429 Busy\r\nRetry-After: {asked}\r\n\r\n".encode()
        with speaking(answer, whole(b"clip")) as (url, _):
            begun = time.monotonic()
            client(url, max_wait_seconds=0.3, backoff_seconds=0.1).get(url)
            assert waited <= time.monotonic() - begun < waited + 0.8


def test_redirects_are_followed_so_far_and_to_http_only(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    hop = b"HTTP/1.1 302 Found\r\nLocation: %s\r\n\r\n"
    with speaking(hop % b"/b.gif", hop % b"c.gif", whole(b"clip")) as (url, requests):
        reply = client(url).get(url + "/a.gif")
    assert (reply.body, reply.url) == (b"clip", url + "/c.gif")
    with speaking(hop % b"/again") as (url, requests):
        assert str(failure(url, max_redirects=3)) == "too many redirects" and len(requests) == 4
    reasons = {b"http://10.0.0.1/": "private", b"ftp://a/": "scheme", b"//user@example.com/": "user name"}
    reasons[secret.as_uri().encode()] = "scheme"
    for location, reason in reasons.items():
        with speaking(hop % location) as (url, _):
            both = ("http", "https", "file")  # files may be asked for, but no server may send us to one
            assert str(failure(url, schemes=both)) == f"address refused: {reason}"
    with speaking(hop % b"http://[::1") as (url, _):
        assert str(failure(url)) in ("malformed reply", "address refused: malformed")


def test_a_file_is_read_only_when_asked_for(tmp_path):
    path = tmp_path / "a b.gif"
    path.write_bytes(b"clip")
    with pytest.raises(FetchFailed, match="scheme"):
        Client().get(path.as_uri())
    allowed = Client(Manners(schemes=("file",), max_bytes=4))
    assert allowed.get(path.as_uri()).body == b"clip"
    path.write_bytes(b"clips")
    for url in (path.as_uri(), tmp_path.as_uri(), "file:///dev/zero", f"file://elsewhere{path}", "file:///no/such"):
        with pytest.raises(FetchFailed):
            allowed.get(url)


def test_permission_and_turns_are_asked_for_at_every_hop():
    hop = b"HTTP/1.1 302 Found\r\nLocation: /b.gif\r\n\r\n"
    asked, turns = [], []

    @contextmanager
    def turn(target):
        turns.append(target.path)
        yield

    with speaking(hop, whole(b"clip")) as (url, _):
        own = Client(client(url).manners, enter=turn)
        own.get(url + "/a.gif", permit=lambda url, target: asked.append(target.path))
    assert asked == turns == ["/a.gif", "/b.gif"]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["noai"], "noai"),
        (["all", "NoImageAI, nofollow"], "noimageai"),
        (["nofollow, noindex"], "noindex"),
        (["none"], "none"),
        (["otherbot: noai"], None),
        (["otherbot: noai, noindex"], None),
        (["ode_vgan: noindex"], "noindex"),
        (["ODE_VGAN: nofollow, noai"], "noai"),
        (["otherbot: noindex, ode_vgan: noimageindex"], "noimageindex"),
        (["unavailable_after: 25 Jun 2030 15:00:00 GMT, noai"], "noai"),
        (["max-snippet: 5, nofollow"], None),
        (["*: noai"], "noai"),
        ([], None),
        ([""], None),
    ],
)
def test_an_opt_out_counts_for_all_agents_and_for_ours(tags, expected):
    assert refusal(tags, "ode_vgan/0.1 (research)") == expected


def test_an_opt_out_is_honoured_by_default_and_told():
    with speaking(whole(b"clip", "X-Robots-Tag: nofollow", "X-Robots-Tag: noai")) as (url, requests):
        error = failure(url)
        assert (str(error), error.x_robots, len(requests)) == ("X-Robots-Tag: noai", "nofollow, noai", 1)
        assert client(url, honour_x_robots=False).get(url).body == b"clip"


def test_the_token_is_the_first_word():
    assert [agent_token(agent) for agent in ("Ode_VGAN/0.1 (x)", "bot", " ", "a b/c")] == ["ode_vgan", "bot", "", "a"]


def robots(answer, path="/a.gif", **changes):
    """What robots.txt's answer says of a path: the message, or None; and how often it was asked for."""
    with speaking(answer) as (url, requests):
        own = Robots(client(url, retries=0, **changes))
        for _ in range(3):
            try:
                own.permit(url + path, split_url(url + path))
                message = None
            except FetchFailed as error:
                message = str(error)
        return message, len(requests)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_missing_robots_file_allows(status):
    assert robots(b"HTTP/1.1 %d No\r\n\r\n" % status) == (None, 1)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_one_that_cannot_be_had_forbids(status):
    assert robots(b"HTTP/1.1 %d No\r\n\r\n" % status) == ("robots.txt unreachable", 1)
    assert robots(lambda line: time.sleep(0.6), read_seconds=0.2) == ("robots.txt unreachable", 1)


def test_rules_are_for_us_and_read_once():
    rules = b"User-agent: *\nDisallow: /private\n\nUser-agent: ode_vgan\nDisallow: /clips\nAllow: /clips/free\n"
    answer = whole(rules, "X-Robots-Tag: noindex")  # a tag on robots.txt itself says nothing of clips
    assert robots(answer, "/private/a.gif") == (None, 1)
    assert robots(answer, "/clips/a.gif") == ("robots.txt", 1)
    assert robots(answer, "/clips/free/a.gif") == (None, 1)
    assert robots(whole(b"<html>not rules</html>")) == (None, 1)
    assert robots(whole(b"\xff\xfe\0bytes")) == (None, 1)


def test_rules_beyond_500_kib_are_not_read():
    start = b"User-agent: *\nDisallow: /early\n"
    rules = start + b"# filling\n" * ((MAX_BYTES - len(start)) // 10 + 1) + b"Disallow: /late\n"
    assert robots(whole(rules), "/early")[0] == "robots.txt"
    assert robots(whole(rules), "/late")[0] is None


def test_a_crawl_delay_slows_us_down():
    waits = []
    with speaking(whole(b"User-agent: *\nCrawl-delay: 7\n")) as (url, _):
        Robots(client(url), lambda target, seconds: waits.append(seconds)).permit(url + "/a", split_url(url + "/a"))
    assert waits == [7.0]


def test_a_host_is_asked_by_so_many_at_once_and_with_a_pause():
    hosts, target = Hosts(2, 0.05), split_url("http://example.com/")
    at_once, most, starts, lock = 0, 0, [], threading.Lock()

    def ask():
        nonlocal at_once, most
        with hosts.turn(target):
            with lock:
                at_once, most = at_once + 1, max(most, at_once + 1)
                starts.append(time.monotonic())
            time.sleep(0.12)
            with lock:
                at_once -= 1

    threads = [threading.Thread(target=ask) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert most == 2
    assert min(b - a for a, b in zip(sorted(starts), sorted(starts)[1:], strict=False)) > 0.03


def test_a_sites_wish_is_capped_and_for_its_host_alone():
    hosts = Hosts(1, 0.0, longest_pause_seconds=0.2)
    one, other = split_url("http://a.example/"), split_url("http://b.example/")
    hosts.slow(one, 3600)
    for target, seconds in ((one, 0.2), (other, 0.0)):
        begun = time.monotonic()
        for _ in range(2):
            with hosts.turn(target):
                pass
        assert seconds <= time.monotonic() - begun < seconds + 0.15


def test_hosts_take_turns():
    assert interleaved(["a", "a", "a", "b", "c", "b"]) == [0, 3, 4, 1, 5, 2]
    assert interleaved([]) == []

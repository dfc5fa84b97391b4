"""Laws of TLS to a pinned address: the certificate must be the name's, whatever address it was reached at."""

import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager, suppress

import pytest

from ode_vgan.laion import wire
from ode_vgan.laion.client import Client, FetchFailed, Manners

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nclip"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A key and a certificate of its own for clips.example."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=clips.example", "-addext", "subjectAltName=DNS:clips.example"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", *subject]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem"), "-days", "2"]
    subprocess.run([*made, *files], check=True, capture_output=True)
    return folder


@contextmanager
def speaking_tls(folder):
    """A server with the certificate on loopback; yields its port and the names that clients asked it for."""
    context, names = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), []
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    context.sni_callback = lambda line, name, own: names.append(name)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        over = threading.Event()

        def serve():
            while not over.is_set():
                with suppress(OSError):
                    line, _ = listener.accept()
                    line.settimeout(5)
                    with context.wrap_socket(line, server_side=True) as secure:
                        secure.recv(4096)
                        secure.sendall(REPLY)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], names
        finally:
            over.set()
            thread.join()


def get(port: int, host: str) -> bytes:
    manners = Manners(allow=(f"127.0.0.1:{port}",), retries=0, connect_seconds=5, total_seconds=10)
    client = Client(manners, lookup=lambda host, port, **options: [(0, 0, 0, "", ("127.0.0.1", port))])
    return client.get(f"https://{host}:{port}/a.gif").body


@pytest.fixture
def trusted(certificate, monkeypatch):
    context = ssl.create_default_context(cafile=str(certificate / "certificate.pem"))
    monkeypatch.setattr(wire, "_tls", lambda: context)


def test_the_name_is_asked_for_and_its_certificate_taken(certificate, trusted):
    with speaking_tls(certificate) as (port, names):
        assert get(port, "clips.example") == b"clip"
    assert names == ["clips.example"]


def test_the_certificate_of_another_name_is_refused(certificate, trusted):
    with speaking_tls(certificate) as (port, _), pytest.raises(FetchFailed, match="certificate refused"):
        get(port, "other.example")


def test_a_certificate_that_nobody_signed_is_refused(certificate):
    with speaking_tls(certificate) as (port, _), pytest.raises(FetchFailed, match="certificate refused"):
        get(port, "clips.example")

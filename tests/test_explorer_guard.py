"""No path, host, origin, caption or upload gets more out of the explorer than a clip of the set."""

# ruff: noqa: F811 a test names the fixtures that it takes

import pytest

from ode_vgan.laion.search import UPLOAD_BYTES
from ode_vgan.web.explorer import create_app
from tests.explorer_fixture import TestClient, client, clip, explorer, folder  # noqa: F401 fixtures
from tests.laion_fixture import HOSTILE


@pytest.mark.parametrize(
    "path",
    [
        "/clips/../../etc/passwd.mp4",
        "/clips/..%2f..%2fetc%2fpasswd.mp4",
        "/clips/%2e%2e%2f00000.tar.mp4",
        "/clips/" + "0" * 32 + ".mp4",
        "/clips/.mp4",
        "/../explorer.py",
        "/..%2fexplorer.py",
        "/%2e%2e/%2e%2e/explorer.py",
        "//etc/passwd",
        "/generated/7.mp4",
        "/generated/-1.mp4",
        "/shards/00000.tar",
    ],
)
def test_no_path_leads_out_of_the_clips(client, path):
    answer = client.get(path)
    assert answer.status_code in (400, 404, 422) and b"root:" not in answer.content and b"import" not in answer.content


def test_a_row_map_with_a_path_for_a_shard_leads_nowhere(explorer):
    for shard in ("../../secret", "", "00000/../00000", "0.0"):
        with pytest.raises(FileNotFoundError):
            explorer.clips.find(shard, "000000000_00000")


def test_hostile_captions_are_data_and_no_page_may_run_them(client):
    answer = client.post("/v1/search", json={"limit": 1})
    assert answer.json()["results"][0]["caption"] == HOSTILE
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/", "/v1/info", "/nothing", "/indices-list"])
def test_every_answer_carries_the_security_headers(client, path):
    headers = client.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff" and "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[::1", "192.168.1.5"]
)
def test_a_foreign_host_is_refused(client, host):
    answer = client.get("/v1/info", headers={"host": host})
    assert answer.status_code == 403 and "Host" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost:8321", "127.0.0.1", "[::1]:8321", "LOCALHOST"])
def test_loopback_names_are_answered(client, host):
    assert client.get("/v1/info", headers={"host": host}).status_code == 200


def test_an_explicit_address_is_answered_and_a_wildcard_answers_addresses_only(explorer):
    for bound, host, status in (
        ("192.168.1.5", "192.168.1.5:8321", 200),
        ("192.168.1.5", "192.168.1.6", 403),
        ("0.0.0.0", "192.168.1.6", 200),
        ("0.0.0.0", "evil.example", 403),
    ):
        with TestClient(create_app(explorer, bound), base_url="http://127.0.0.1") as client:
            assert client.get("/v1/info", headers={"host": host}).status_code == status


def test_another_site_cannot_post(client):
    for origin, status in (("https://evil.example", 403), ("null", 403), ("http://127.0.0.1", 200)):
        assert client.post("/v1/search", json={"limit": 1}, headers={"origin": origin}).status_code == status


def test_uploads_above_the_limit_are_refused_whatever_their_header_says(client):
    def parts():
        for _ in range(UPLOAD_BYTES // 2**20 + 1):
            yield bytes(2**20)

    for content in (bytes(UPLOAD_BYTES + 1), parts()):
        answer = client.post("/v1/upload", content=content)
        assert answer.status_code == 413 and str(UPLOAD_BYTES) in answer.json()["error"]
    assert client.post("/v1/search", content=b'{"a": "' + b"x" * 2**20 + b'"}').status_code == 413


@pytest.mark.parametrize("content", [b"", b"<script>alert(1)</script>", b"GIF89a" + b"\0" * 20])
def test_an_upload_that_is_no_clip_is_refused_in_one_line(client, content):
    answer = client.post("/v1/upload", content=content)
    assert answer.status_code == 400 and "\n" not in answer.json()["error"]

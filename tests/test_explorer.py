"""The explorer answers what a page and clip-retrieval's clients ask, and refuses what it should."""

# ruff: noqa: F811 a test names the fixtures that it takes

import base64
import io
import json

import numpy as np
import pytest

from ode_vgan.errors import UserError
from ode_vgan.web.explorer import Explorer, create_app, serve
from ode_vgan.web.server import listen
from tests.explorer_fixture import TestClient, client, clip, explorer, folder  # noqa: F401 fixtures
from tests.laion_fixture import DIM


def test_words_find_clips_and_say_what_was_kept(client):
    answer = client.post("/v1/search", json={"query": {"text": "wind face"}, "limit": 3}).json()
    assert answer["results"][0]["caption"] == "wind face" and answer["results"][0]["near"] > 0.99
    assert len(answer["results"]) == 3 and answer["kept"] == 48 and answer["more"] is True


def test_a_clip_of_the_set_finds_others_and_is_shown_as_the_query(client, clip):
    answer = client.post("/v1/search", json={"query": {"uid": clip[0]}, "limit": 48}).json()
    assert answer["query"]["uid"] == clip[0]
    assert clip[0] not in {one["uid"] for one in answer["results"]} and len(answer["results"]) == 47


def test_a_dropped_clip_is_a_query_by_its_digest(client, clip):
    name = client.post("/v1/upload", content=clip[1]).json()["upload"]
    assert name == clip[0]  # a uid is the digest of the clip's bytes
    answer = client.post("/v1/search", json={"query": {"upload": name}, "limit": 2})
    assert answer.status_code == 200 and len(answer.json()["results"]) == 2
    gone = client.post("/v1/search", json={"query": {"upload": "0" * 32}})
    assert gone.status_code == 400 and "Drop it again" in gone.json()["error"]


def test_filters_narrow_results_and_facets_alike(client):
    wanted = {"ranges": {"motion": [0.5, None]}, "values": {"split": ["train"]}, "where": "aesthetic > 3"}
    found = client.post("/v1/search", json={"query": {"text": "face"}, "filter": wanted, "limit": 48}).json()
    facets = client.post("/v1/facets", json={"filter": wanted}).json()
    assert len(found["results"]) == found["kept"] == facets["count"] > 0
    assert all(one["motion"] >= 0.5 and one["split"] == "train" and one["aesthetic"] > 3 for one in found["results"])
    assert sum(facets["histograms"]["punsafe"]) == facets["count"]


def test_browsing_pages_through_every_clip_once(client):
    pages = [client.post("/v1/search", json={"offset": i, "limit": 20, "order": "-motion"}).json() for i in (0, 20, 40)]
    uids = [one["uid"] for page in pages for one in page["results"]]
    assert len(uids) == len(set(uids)) == 48 and [page["more"] for page in pages] == [True, True, False]


@pytest.mark.parametrize(
    "body",
    [
        {"filter": {"where": "motion > 0.2; drop table clips"}},
        {"filter": {"where": "exists (select * from read_csv('/etc/passwd'))"}},
        {"filter": {"ranges": {"motion": [1]}}},
        {"filter": {"ranges": {"motion": ["a", None]}}},
        {"filter": {"ranges": {"nonsense": [0, 1]}}},
        {"filter": {"values": {"split": "train"}}},
        {"filter": {"values": {"split": ["x"] * 201}}},
        {"filter": {"other": 1}},
        {"filter": []} | {"query": "text"},
        {"query": {"text": "   "}},
        {"query": {"text": 5}},
        {"query": {"text": "x" * 2001}},
        {"query": {"uid": "../../etc/passwd"}},
        {"query": {"vector": [1.0] * (DIM + 1)}},
        {"query": {"vector": ["a"]}},
        {"query": {"vector": [0.0] * DIM}},
        {"query": {"other": 1}},
        {"order": "motion; drop"},
        {"offset": -1},
        {"limit": 0},
        {"limit": 201},
        {"limit": True},
        {"offset": 2990, "limit": 40},
    ],
    ids=lambda body: json.dumps(body)[:60],
)
def test_a_bad_request_is_answered_in_one_line(client, body):
    answer = client.post("/v1/search", json=body)
    assert answer.status_code == 400 and "\n" not in answer.json()["error"]


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(client, content):
    assert client.post("/v1/search", content=content).status_code == 400


def test_clips_come_whole_and_in_ranges_straight_from_the_tar(client, clip):
    uid, content = clip
    whole = client.get(f"/clips/{uid}.mp4")
    assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, content, "video/mp4")
    assert whole.headers["accept-ranges"] == "bytes"
    size = len(content)
    for asked, start, stop in (
        ("bytes=0-99", 0, 100),
        ("bytes=100-", 100, size),
        ("bytes=-50", size - 50, size),
        (f"bytes=10-{size * 2}", 10, size),
        (f"bytes=-{size * 2}", 0, size),
    ):
        part = client.get(f"/clips/{uid}.mp4", headers={"range": asked})
        assert (part.status_code, part.content) == (206, content[start:stop]), asked
        assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
        assert part.headers["content-length"] == str(stop - start)


def test_ranges_that_nothing_satisfies_and_ranges_not_understood(client, clip):
    uid, content = clip
    for asked in (f"bytes={len(content)}-", "bytes=5-2", "bytes=-0", "bytes=-"):
        part = client.get(f"/clips/{uid}.mp4", headers={"range": asked})
        assert part.status_code == 416 and part.headers["content-range"] == f"bytes */{len(content)}", asked
    for asked in ("bytes=0-1,4-5", "lines=1-2", "bytes=a-b", f"bytes=0-{'9' * 40}"):
        assert client.get(f"/clips/{uid}.mp4", headers={"range": asked}).content == content


def test_a_browser_that_has_a_clip_is_not_sent_it_again(client, clip):
    uid, content = clip
    tag = client.head(f"/clips/{uid}.mp4")
    assert tag.content == b"" and tag.headers["content-length"] == str(len(content))
    assert client.get(f"/clips/{uid}.mp4", headers={"if-none-match": tag.headers["etag"]}).status_code == 304
    stale = client.get(f"/clips/{uid}.mp4", headers={"range": "bytes=0-9", "if-range": '"other"'})
    assert (stale.status_code, stale.content) == (200, content)


def test_the_clip_retrieval_client_gets_what_its_server_would_answer(client):
    """The fields that its client sends for a text, and the shape that its page reads."""
    assert client.get("/indices-list").json() == ["video"]
    request = {
        "text": "grinning face",
        "image": None,
        "image_url": None,
        "embedding_input": None,
        "deduplicate": True,
        "use_safety_model": True,
        "use_violence_detector": True,
        "indice_name": "video",
        "use_mclip": False,
        "aesthetic_score": 9,
        "aesthetic_weight": 0.5,
        "modality": "image",
        "num_images": 4,
        "num_result_ids": 7,
    }
    rows = client.post("/knn-service", json=request).json()
    assert len(rows) == 7 and all(isinstance(row["id"], int) and isinstance(row["similarity"], float) for row in rows)
    assert [row["similarity"] for row in rows] == sorted((row["similarity"] for row in rows), reverse=True)
    assert all(row["caption"] and row["url"] and row["punsafe"] <= 0.5 for row in rows[:4])
    assert all(set(row) == {"id", "similarity"} for row in rows[4:])
    ids = [row["id"] for row in rows[4:]]
    described = client.post("/metadata", json={"ids": ids, "indice_name": "video"}).json()
    assert [one["id"] for one in described] == ids and all(one["metadata"]["caption"] for one in described)
    assert client.post("/metadata", json={"ids": [], "indice_name": "video"}).json() == []


def test_knn_takes_an_image_in_base64_and_a_vector(client, clip, explorer):
    picture = io.BytesIO()
    from PIL import Image

    Image.new("RGB", (64, 64), (200, 30, 30)).save(picture, "PNG")
    for content in (clip[1], picture.getvalue()):
        body = {
            "image": base64.b64encode(content).decode(),
            "modality": "image",
            "num_images": 2,
            "indice_name": "video",
        }
        assert len(client.post("/knn-service", json=body).json()) == 2
    vector = explorer.search.vector(17).tolist()
    body = {"embedding_input": vector, "modality": "image", "num_images": 1, "indice_name": "video"}
    found = client.post("/knn-service", json=body).json()[0]
    assert found["id"] == 17 and found["similarity"] == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"text": None},
        {"text": None, "image_url": "http://169.254.169.254/latest"},
        {"text": None, "image": "***"},
        {"indice_name": "laion5B"},
        {"modality": "text"},
        {"num_images": -1},
        {"num_images": "many"},
    ],
)
def test_knn_refuses_what_it_cannot_answer(client, change):
    body = {"text": "face", "modality": "image", "num_images": 2, "indice_name": "video"} | change
    answer = client.post("/knn-service", json=body)
    assert answer.status_code == 400 and "\n" not in answer.json()["error"]
    assert client.post("/metadata", json={"ids": [48], "indice_name": "video"}).status_code == 400


def test_generated_clips_lie_beside_their_nearest_with_the_closest_first(client, explorer):
    answer = client.get("/v1/beside").json()
    assert answer["compared"] == answer["total"] == 4
    near = [one["nearest"][0]["near"] for one in answer["items"][:3]]
    assert near == sorted(near, reverse=True) and all(len(one["nearest"]) == 5 for one in answer["items"][:3])
    assert answer["items"][3]["key"] == "broken" and answer["items"][3]["error"]
    number = answer["items"][0]["number"]
    media = client.get(f"/generated/{number}.mp4", headers={"range": "bytes=0-9"})
    assert media.status_code == 206 and len(media.content) == 10
    vectors = np.stack([explorer.search.vector(row) for row in range(48)])
    similarity = vectors @ vectors.T - 2 * np.eye(48)
    assert answer["baseline"]["count"] == 48
    assert answer["baseline"]["median"] == pytest.approx(np.median(similarity.max(1)), abs=1e-4)


def test_without_generated_clips_or_embedder_the_rest_still_works(folder):
    with TestClient(create_app(Explorer(folder)), base_url="http://127.0.0.1") as client:
        info = client.get("/v1/info").json()
        assert info["text"] is False and info["generated"] is False and info["count"] == 48
        assert "--generated" in client.get("/v1/beside").json()["error"]
        refused = client.post("/v1/search", json={"query": {"text": "face"}})
        assert refused.status_code == 400 and "no embedder" in refused.json()["error"]
        uid = client.post("/v1/search", json={"limit": 1}).json()["results"][0]["uid"]
        assert len(client.post("/v1/search", json={"query": {"uid": uid}}).json()["results"]) == 40


def test_numbers_that_json_or_javascript_would_spoil_are_made_fit():
    from ode_vgan.web.answered import plain

    made = plain({"a": float("nan"), "b": 2**60, "c": [1.5, float("inf")], "d": b"x", "e": True, "f": None})
    assert made == {"a": None, "b": str(2**60), "c": [1.5, None], "d": "b'x'", "e": True, "f": None}
    json.dumps(made, allow_nan=False)


def test_a_port_in_use_is_said_in_one_line(folder):
    with listen("127.0.0.1", 0) as listener, pytest.raises(UserError, match="cannot listen on 127.0.0.1 port"):
        serve(folder, port=listener.getsockname()[1], embedder=None)
    with pytest.raises(UserError, match="cannot listen"):
        listen("127.0.0.1", 99999)


def test_a_subset_is_what_the_filter_keeps_with_its_sql(client, folder):
    from ode_vgan.laion.subset import read_subset

    wanted = {"ranges": {"motion": [0.3, None]}, "values": {"near_duplicate": ["false"]}, "where": "aesthetic > 3"}
    found = client.post("/v1/search", json={"filter": wanted, "limit": 100}).json()
    made = client.post("/v1/subset", json={"name": "lively-1", "filter": wanted}).json()
    subset = read_subset(folder / made["path"])
    assert subset.uids == {one["uid"] for one in found["results"]} and made["count"] == len(subset.uids) > 0
    assert "aesthetic" in subset.provenance["sql"] and "dup_of" in subset.provenance["sql"]


def test_a_subset_of_chosen_clips_holds_them_alone(client, folder):
    from ode_vgan.laion.subset import read_subset

    uids = [one["uid"] for one in client.post("/v1/search", json={"limit": 3}).json()["results"]]
    made = client.post("/v1/subset", json={"name": "three", "uids": uids}).json()
    assert read_subset(folder / made["path"]).uids == set(uids) and made["count"] == 3
    again = client.post("/v1/subset", json={"name": "three", "uids": uids[:2]})
    assert again.status_code == 400 and "three" in again.json()["error"]


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a" * 65, "a b", "a.json", 5, None])
def test_a_name_that_is_no_file_name_writes_nothing(client, folder, name):
    before = sorted(path for path in folder.rglob("*"))
    assert client.post("/v1/subset", json={"name": name}).status_code == 400
    assert client.post("/v1/subset", json={"name": "x", "uids": ["../" * 10]}).status_code == 400
    assert sorted(path for path in folder.rglob("*")) == before

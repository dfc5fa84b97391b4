"""The studio's server: what is asked is what is rendered, and no question gets more out of it."""

import json
import threading

import numpy as np
import pytest
import torch

from ode_vgan import load
from ode_vgan.data.clips import decode_clip
from ode_vgan.errors import UserError
from ode_vgan.web.playable import DENSE, names_of, on_arc
from ode_vgan.web.studio import Studio, create_app
from ode_vgan.web.studio_asked import MAX_FRAMES, MAX_TEXT, asked_clip
from ode_vgan.web.turns import Stale, Turns
from tests.known import FRAMES, GAP, PX
from tests.studio_fixture import made_studio

WINDOW = [i * GAP for i in range(FRAMES)]
ANY = ("ode", "sde", "rnn")


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    return made_studio(tmp_path_factory.mktemp("studio"))


@pytest.fixture(scope="module")
def client(studio):
    from fastapi.testclient import TestClient

    return TestClient(create_app(studio), base_url="http://127.0.0.1", raise_server_exceptions=False)


def ask(client, run="ode", times=WINDOW, expect=200, **more):
    answer = client.post("/v1/clip", json={"run": run, "times": times, "text": "a disc", **more})
    assert answer.status_code == expect, answer.text[:200]
    if expect != 200:
        return answer.json()["error"]
    told = json.loads(answer.headers["x-clip"])
    return np.frombuffer(answer.content, np.uint8).reshape(told["shape"]), told


def test_a_clip_is_what_the_run_itself_renders(studio, client):
    for name, run in studio.runs.items():
        frames, told = ask(client, name, seed=5)
        own = load(run.trained.checkpoint).sample(["a disc"], torch.tensor(WINDOW, dtype=torch.float32), seed=5)[0]
        assert np.array_equal(frames, own.numpy()) and told["shape"] == [FRAMES, PX, PX, 3]
        assert told["evaluations"] == run.temporal.nfe and told["seconds"] >= 0


def test_the_page_is_told_what_each_model_of_time_can_do(client):
    runs = {run["name"]: run for run in client.get("/v1/info").json()["runs"]}
    assert list(runs) == ["ode", "sde", "rnn", "discrete"]
    assert runs["ode"]["can"]["backward"] and not runs["rnn"]["can"]["backward"]
    assert not runs["discrete"]["can"]["any_gap"] and runs["sde"]["can"]["step_noise"]
    assert runs["ode"]["captions"] and runs["ode"]["window_seconds"] == pytest.approx(GAP * (FRAMES - 1))


def test_a_continuous_model_shows_the_same_frame_however_it_is_asked(client):
    alone = ask(client, times=[0.137])[0][0].astype(int)
    among = ask(client, times=[0.0, 0.05, 0.137, 0.4])[0][2].astype(int)
    assert np.abs(alone - among).max() <= 1  # midpoint steps end at the asked times: the solver's error, then rounding


def test_times_before_the_start_and_beyond_the_window_are_shown_or_refused_in_one_line(client):
    assert len(ask(client, times=[-0.5, 0.0, 2.0])[0]) == 3
    assert len(ask(client, "rnn", times=[0.0, 2.0])[0]) == 2
    for name in ("sde", "rnn"):
        assert "cannot run before 0 s" in ask(client, name, times=[-0.5, 0.0], expect=400)
    assert f"makes exactly {FRAMES}" in ask(client, "discrete", times=[0.0, 0.1], expect=400)


def test_a_walk_begins_and_ends_at_its_two_ends(client):
    words = {"text": "a disc", "text_to": "a square moving left"}
    ends = [ask(client, text=words[end], seed=seed)[0] for end, seed in (("text", 1), ("text_to", 2))]
    walk = [ask(client, **words, text_mix=share, seed=1, seed_to=2, seed_mix=share)[0] for share in (0.0, 0.5, 1.0)]
    assert np.array_equal(walk[0], ends[0]) and np.array_equal(walk[2], ends[1])
    assert not np.array_equal(walk[1], walk[0]) and not np.array_equal(walk[1], walk[2])


def test_new_noise_leaves_the_start_and_changes_what_follows(client):
    first, again, other = (ask(client, "sde", noise=noise)[0] for noise in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.array_equal(first[0], other[0]) and not np.array_equal(first[-1], other[-1])
    assert np.array_equal(ask(client, "ode", noise=1)[0], ask(client, "ode", noise=2)[0])


def test_an_arc_keeps_unit_length_and_equal_angles():
    a, b = torch.eye(5)[:1], torch.eye(5)[1:2]
    angles = [float((on_arc(a, b, share) * a).sum().acos()) for share in (0.0, 0.25, 0.5, 1.0)]
    assert angles == pytest.approx([0, np.pi / 8, np.pi / 4, np.pi / 2], abs=1e-3)
    assert float(on_arc(a, b, 0.3).norm()) == pytest.approx(1, abs=1e-6)
    assert torch.equal(on_arc(a, a, 0.5), a)


def test_a_path_is_dense_for_a_continuous_model_and_only_at_the_frames_for_others(client):
    found = {
        name: client.post("/v1/path", json={"run": name, "text": "a disc", "times": WINDOW}).json() for name in ANY
    }
    assert len(found["ode"]["points"]) >= DENSE and len(found["rnn"]["points"]) == FRAMES
    for path in found.values():
        assert np.allclose(np.array(path["times"])[path["marks"]], WINDOW, atol=1e-6)
        assert len(path["speeds"]) == len(path["points"]) - 1 and path["span"] > 0 and path["evaluations"] > 0


def test_a_path_over_any_range_has_no_two_times_that_single_precision_takes_for_one(client):
    for low, high in ((-2.52, 7.56), (-1 / 3, 1 / 7), (0.1, 0.1 + 0.7), (100.1, 130.7)):
        times = [low + (high - low) * i / 90 for i in range(91)]
        path = client.post("/v1/path", json={"run": "ode", "text": "a disc", "times": times}).json()
        assert np.allclose(np.array(path["times"])[path["marks"]], times, atol=1e-5), path


def test_a_film_plays_at_the_asked_times_one_clip_or_several(client):
    times = [0.0, 0.25, 0.5, 1.0]
    for names in (["ode"], ["ode", "sde", "rnn"]):
        clips = [{"run": name, "text": "a disc", "times": times} for name in names]
        answer = client.post("/v1/film", json={"clips": clips})
        film = decode_clip(answer.content)
        assert answer.headers["content-type"] == "video/mp4" and np.allclose(film.times, times, atol=2e-3)


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"times": []}, "1 to 512 seconds"),
        ({"times": [0.0] * (MAX_FRAMES + 1)}, "1 to 512 seconds"),
        ({"times": [0.0, 0.0]}, "must rise"),
        ({"times": [0.0, 1e300]}, "within 600 s"),
        ({"times": ["0"]}, "1 to 512 seconds"),
        ({"times": [True]}, "1 to 512 seconds"),
        ({"times": [1.0, 1.0 + 1e-12]}, "single precision"),
        ({"text": "x" * (MAX_TEXT + 1)}, "at most 500"),
        ({"text": 3}, "given as a text"),
        ({"seed": -1}, "whole number"),
        ({"seed": 2**31}, "whole number"),
        ({"noise": 1.5}, "whole number"),
        ({"text_mix": 1.5}, "from 0 to 1"),
        ({"turn": None}, "whole number"),
        ({"weights": "x"}, "nothing the studio knows"),
    ],
)
def test_a_wrong_question_is_refused_in_one_line(client, changes, says):
    answer = client.post("/v1/clip", json={"run": "ode", "times": [0.0], "text": "a disc", **changes})
    assert answer.status_code == 400 and says in answer.json()["error"] and "\n" not in answer.json()["error"]


def test_numbers_that_are_none_and_bodies_that_are_no_objects_are_refused(client):
    for body in (
        b'{"run": "ode", "text": "x", "times": [NaN]}',
        b'{"run": "ode", "text": "\\ud83d", "times": [0]}',
        b"[1]",
        b"{",
        b"\xff",
        b"[" * 100_000,
    ):
        answer = client.post("/v1/clip", content=body)
        assert answer.status_code == 400 and "\n" not in answer.json()["error"]
    assert client.post("/v1/clip", content=b" " * (2**20 + 1)).status_code == 413


def test_words_of_any_script_and_markup_are_only_words(client):
    for text in ("", "<b>x</b><script>alert(1)</script>", "שלום \u202e cat", "\x00\x07 cat", "猫" * 400, "\U0001f600"):
        assert ask(client, text=text)[0].shape[0] == FRAMES


def test_a_run_that_is_not_there_is_not_found(client):
    assert client.post("/v1/clip", json={"run": "../ode", "text": "", "times": [0.0]}).status_code == 404
    assert client.get("/../studio.py").status_code == 404 and client.get("/..%2fstudio.py").status_code == 404


def test_other_hosts_and_origins_are_refused(client):
    assert client.get("/v1/info", headers={"host": "evil.example"}).status_code == 403
    refused = client.post("/v1/clip", json={}, headers={"origin": "http://evil.example"})
    assert refused.status_code == 403 and "default-src 'self'" in refused.headers["content-security-policy"]


def test_a_question_that_was_replaced_is_dropped(client):
    ask(client, page="p", turn=5)
    assert "replaced by turn 5" in ask(client, page="p", turn=4, expect=409)
    ask(client, page="q", turn=1)
    ask(client, "sde", page="p", turn=4)  # of another run


def test_a_waiting_question_is_dropped_when_a_newer_one_comes():
    turns, results, inside = Turns(), [], threading.Event()

    def first():
        with turns.answering("p", "clip", 1):
            inside.set()
            while not results:
                pass

    def second():
        try:
            with turns.answering("p", "other", 2):
                results.append("answered")
        except Stale:
            results.append("dropped")

    workers = [threading.Thread(target=first), threading.Thread(target=second)]
    workers[0].start()
    inside.wait(10)
    workers[1].start()
    while ("p", "other") not in turns._newest:
        pass
    turns.note("p", "other", 3)
    results.append("newer")
    for worker in workers:
        worker.join(10)
    assert results == ["newer", "dropped"]


def test_a_rendering_stops_between_chunks_when_its_page_asks_anew(studio, monkeypatch):
    monkeypatch.setattr(type(studio.runs["ode"].generator), "chunk", lambda self, clips: 50)
    asked = asked_clip({"run": "ode", "text": "a", "times": [i / 100 for i in range(200)], "page": "z", "turn": 1})
    steps = []

    def go_on():
        steps.append(1)
        if len(steps) == 2:
            raise Stale("newer")

    with pytest.raises(Stale):
        studio.runs["ode"].render(asked, go_on)
    assert len(steps) == 2


def test_runs_are_named_by_as_much_of_their_path_as_tells_them_apart(tmp_path):
    def names(*paths):
        return names_of([tmp_path / path for path in paths])

    assert names("a/ode", "a/sde") == ["ode", "sde"]
    assert names("a/ode", "b/ode") == ["a/ode", "b/ode"]
    with pytest.raises(UserError, match="named twice"):
        names("a/ode", "a/../a/ode")


def test_no_run_nine_runs_and_a_folder_without_one_are_refused(tmp_path):
    for runs, says in (([], "0 runs"), ([tmp_path] * 9, "9 runs"), ([tmp_path], "train it first")):
        with pytest.raises(UserError, match=says):
            Studio(runs)

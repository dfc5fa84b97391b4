"""Laws of exported folders: the same clips bit for bit, nothing but numbers and plain text, whole or not at all."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import ode_vgan
from ode_vgan.cli.main import build_parser
from ode_vgan.data.clips import decode_clip
from ode_vgan.embed.embedder import file_sha256
from ode_vgan.errors import UserError
from ode_vgan.metrics.clipsets import is_run
from ode_vgan.parts import check_parts
from ode_vgan.share.export import export_run, fresh_folder, requirements, without_paths
from tests.made_runs import made_clips, made_config, made_run
from tests.tiny import REPOSITORY

TIMES = torch.arange(5) * 0.1
RESULT = {"name": "fd20_hog3d", "value": 12.5, "low": 11.0, "high": 14.0, "real": 1.5, "better": "lower"}
WRITER = {"_target_": "ode_vgan.data.clips.write_atomic", "path": "x", "content": "x"}
PROTOCOL = {"split": "test", "seed": 0, "clips_fake": 20, "frames": 16, "extractor": "hog3d_v1"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_clips(tmp_path_factory.mktemp("data") / "clips")


@pytest.fixture(scope="module")
def made(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = made_run(tmp_path_factory.mktemp("run") / "ode-seed0", clips)
    told = {"subjects": ["x"], "clips_seen": {"x": 64}, "results": [RESULT | {"subject": "x", "protocol": PROTOCOL}]}
    (folder / "evaluation.json").write_text(json.dumps(told))
    return folder


@pytest.fixture(scope="module")
def shared(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_run(made, tmp_path_factory.mktemp("out") / "shared")


def copy(shared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shared, tmp_path / "copy"))


def changed(folder: Path, change) -> Path:
    told = json.loads((folder / "config.json").read_text())
    change(told)
    (folder / "config.json").write_text(json.dumps(told))
    return folder


def refused(path: Path, *words: str) -> None:
    with pytest.raises(UserError) as error:
        ode_vgan.load(path).embed  # noqa: B018
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_an_exported_folder_makes_the_clips_of_the_checkpoint_bit_for_bit(made: Path, shared: Path):
    ours, theirs = ode_vgan.load(made), ode_vgan.load(shared)
    texts = ["a ball", "two balls"]
    assert torch.equal(ours.sample(texts, TIMES, seed=3), theirs.sample(texts, TIMES, seed=3))
    assert theirs.clips_seen == 64 and theirs.checkpoint == shared / "model.safetensors"


def test_it_holds_these_files_and_no_other_and_every_clip_plays(shared: Path):
    names = {path.relative_to(shared).as_posix() for path in shared.rglob("*") if path.is_file()}
    alone = {name for name in names if re.fullmatch(r"samples/\d{4}\.mp4", name)}
    assert names - alone == {"README.md", "config.json", "model.safetensors", "requirements.txt", "samples/samples.mp4",
                             "samples/samples.png"}  # fmt: skip
    wanted = made_config(Path())["data"]["frames"]
    assert alone and {len(decode_clip(shared / name).frames) for name in alone} == {wanted}


def test_reading_it_imports_no_pickle_and_asks_torch_load_nothing(shared: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "load", lambda *given, **named: pytest.fail("torch.load was called"))
    monkeypatch.setattr("pickle.load", lambda *given: pytest.fail("pickle.load was called"))
    monkeypatch.setattr("pickle.Unpickler", lambda *given: pytest.fail("an unpickler was made"))
    ode_vgan.load(shared)


def test_torch_hub_reads_it_from_a_clone(made: Path, shared: Path):
    model = torch.hub.load(str(REPOSITORY), "ode_vgan", str(shared), source="local")
    assert torch.equal(model.sample(["a"], TIMES, 0), ode_vgan.load(made).sample(["a"], TIMES, 0))


def test_it_may_be_moved_and_no_file_names_a_folder_of_this_machine(made: Path, clips: Path, shared: Path, tmp_path):
    moved = copy(shared, tmp_path)
    assert len(ode_vgan.load(moved).sample(["a"], TIMES, 0)) == 1
    for path in (path for path in shared.rglob("*") if path.suffix in (".json", ".md", ".txt")):
        text = path.read_text()
        assert str(clips.parent) not in text and str(made.parent) not in text and str(Path.home()) not in text, path


def test_paths_of_this_machine_keep_their_last_part():
    told = {"a": ["/somewhere/me/clips", "python train.py data.source=/data/x/y.tar tag=a/b"], "b": "~/w/z.pt", "n": 1}
    assert without_paths(told) == {"a": ["clips", "python train.py data.source=y.tar tag=a/b"], "b": "z.pt", "n": 1}
    assert without_paths("https://host/a/b and a/b/c, 1/2") == "https://host/a/b and a/b/c, 1/2"


def test_the_card_has_front_matter_and_says_data_protocol_metrics_limits_and_licence(shared: Path):
    text = (shared / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    told = yaml.safe_load(front)
    assert told["license"] == "other" and told["library_name"] == "ode_vgan" and "OdePath" in told["tags"]
    assert told["model-index"][0]["results"][0]["metrics"][0]["value"] == 12.5
    for part in ("## Use", "## Data", "## Training", "## Metrics", "## Limits", "## Licence"):
        assert part in body
    assert "| fd20_hog3d | test | 12.5 [11, 14] | 1.5 |" in body
    assert "extractor hog3d_v1" in body and "64 clips seen" in body and "`python train.py temporal=ode`" in body


def test_the_cards_own_code_runs(shared: Path):
    code = re.search(r"```python\n(.*?)```", (shared / "README.md").read_text(), re.S)[1]
    place = {"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code + "\nassert clips.ndim == 5 and clips.dtype == torch.uint8"]
    subprocess.run(command, cwd=shared.parent, env=place, check=True)


def test_a_checkpoint_that_was_not_judged_says_so(made: Path, clips: Path, tmp_path: Path):
    other = made_run(tmp_path / "other", clips, seen=32)
    shutil.copy(made / "evaluation.json", other)  # of 64 clips: not about this one
    assert "has not been judged" in (export_run(other, tmp_path / "out", texts=["a"]) / "README.md").read_text()


def test_a_verdict_on_the_kept_checkpoint_of_the_same_weights_counts_and_on_others_not(clips: Path, tmp_path: Path):
    run = made_run(tmp_path / "run", clips, looks=[32])
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save(content | {"more": 1}, run / "checkpoints" / "clips_000000064.ckpt")
    (run / "judged").mkdir()
    for name, look, value in (("a", 64, 7.0), ("b", 32, 9.0)):
        asked = {"checkpoint_sha256": file_sha256(run / "checkpoints" / f"clips_{look:09d}.ckpt")}
        found = {"results": [RESULT | {"value": value, "protocol": PROTOCOL}]}
        (run / "judged" / f"{name}.json").write_text(json.dumps({"asked": asked, "found": found}))
    (run / "judged" / "c.json").write_text("{")
    text = (export_run(run, tmp_path / "out", texts=["a"]) / "README.md").read_text()
    assert "| fd20_hog3d | test | 7 [11, 14] |" in text and "| 9 [11, 14] |" not in text


def test_requirements_pin_what_is_installed():
    lines = requirements().splitlines()
    assert lines[0].startswith("# ode_vgan") and all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines[1:])
    assert any(line.startswith("torch==") for line in lines)


def test_critics_come_along_when_asked_for(clips: Path, tmp_path: Path):
    run = made_run(tmp_path / "run", clips)
    checkpoint = run / "checkpoints" / "last.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["critics.frame.weight"] = torch.arange(6.0).view(2, 3).t()  # not contiguous
    torch.save(content, checkpoint)
    found = load_file(export_run(run, tmp_path / "out", critics=True, texts=["a"]) / "critics.safetensors")
    assert torch.equal(found["frame.weight"], torch.arange(6.0).view(2, 3).t()) and len(found) == 1


def test_asking_for_critics_that_are_not_there_leaves_nothing_behind(made: Path, tmp_path: Path):
    with pytest.raises(UserError, match="holds no critics"):
        export_run(made, tmp_path / "out", critics=True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_refused_and_kept(made: Path, tmp_path: Path):
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(UserError, match="not an empty folder"):
        export_run(made, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_empty_folder_is_filled(made: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    assert (export_run(made, tmp_path / "out", texts=["a"]) / "config.json").is_file()


def test_an_export_that_fails_half_way_leaves_nothing(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), fresh_folder(tmp_path / "deep" / "out") as folder:
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt
    assert list((tmp_path / "deep").iterdir()) == []


def test_every_verb_that_takes_a_run_takes_the_folder(shared: Path, tmp_path: Path):
    args = build_parser(["sample"]).parse_args(["sample", str(shared), "--text", "a", "--out", str(tmp_path)])
    from ode_vgan.cli.sample import run

    assert run(args) == 0 and list(tmp_path.glob("*.mp4")) and is_run(shared)


def test_tampered_weights_are_refused(shared: Path, tmp_path: Path):
    folder = copy(shared, tmp_path)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    refused(folder, "sha256 differs")


def test_half_written_weights_with_their_own_sum_are_refused(shared: Path, tmp_path: Path):
    folder = copy(shared, tmp_path)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    own = {"model.safetensors": file_sha256(folder / "model.safetensors")}
    refused(changed(folder, lambda told: told.update(sha256=own)), "cannot be read")


def test_a_pickle_in_the_place_of_weights_is_not_run(shared: Path, tmp_path: Path):
    folder, ran = copy(shared, tmp_path), tmp_path / "ran"
    torch.save({"a": Runs(ran)}, folder / "model.safetensors")
    own = {"model.safetensors": file_sha256(folder / "model.safetensors")}
    refused(changed(folder, lambda told: told.update(sha256=own)), "cannot be read")
    assert not ran.exists()


class Runs:
    """Touches a file where it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told: told.update(kind="clip"), ("kind 'clip'", "ode-vgan export")),
        (lambda told: told.update(format=2), ("format 2", "Update ode_vgan")),
        (lambda told: told.pop("config"), ("lacks a config",)),
        (lambda told: told.update(clips_seen=-1), ("clips_seen",)),
        (lambda told: told["config"].update(embed=[]), ("lacks a config",)),
        (lambda told: told["config"]["model"].pop("generator"), ("makes no clips",)),
        (lambda told: told["config"]["model"]["generator"].update(noise_dim=3), ("do not fit",)),
        (lambda told: told["config"]["model"]["generator"].update(_target_="os.system"), ("outside ode_vgan",)),
        (lambda told: told["config"]["model"]["generator"].update(decoder=WRITER), ("no part of a model",)),
        (lambda told: told["config"]["embed"].update(WRITER), ("no part of a model",)),
        (lambda told: told["config"]["embed"].update(folder="../.."), ("outside the folder",)),
        (lambda told: told["config"]["embed"].update(folder="/etc"), ("outside the folder",)),
    ],
)
def test_a_tampered_config_is_refused_in_one_line(shared: Path, tmp_path: Path, change, words):
    refused(changed(copy(shared, tmp_path), change), *words)


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00", '{"kind": "video_gan"' + " " * 2**22, "[" * 100_000, "ÿþ"])
def test_a_config_that_is_none_is_refused_in_one_line(shared: Path, tmp_path: Path, text: str):
    folder = copy(shared, tmp_path)
    (folder / "config.json").write_text(text)
    refused(folder, str(folder))


def test_missing_weights_are_named(shared: Path, tmp_path: Path):
    folder = copy(shared, tmp_path)
    (folder / "model.safetensors").unlink()
    refused(folder, "model.safetensors is missing")


def test_a_folder_of_another_kind_is_refused():
    refused(REPOSITORY / "data" / "clip_tiny", "kind 'clip'", "ode-vgan export")


def test_a_checkpoint_cannot_name_a_function_that_writes_either(made: Path, tmp_path: Path):
    checkpoint = tmp_path / "last.ckpt"
    content = torch.load(made / "checkpoints" / "last.ckpt", weights_only=True)
    node = {"_target_": "ode_vgan.runs.remember", "folder": str(tmp_path / "x"), "config": {}}
    content["ode_vgan"]["config"]["model"]["generator"]["decoder"] = node
    torch.save(content, checkpoint)
    refused(checkpoint, "no part of a model")
    assert not (tmp_path / "x").exists()


def test_nodes_without_end_are_refused():
    node: dict = {}
    for _ in range(100):
        node = {"child": node}
    with pytest.raises(UserError, match="nests more than"):
        check_parts(node)


def test_embedders_files_travel_with_the_folder(clips: Path, tmp_path: Path):
    config = made_config(clips)
    own = Path(shutil.copytree(REPOSITORY / "data" / "matched", tmp_path / "maps"))
    config["embed"] = {"_target_": "ode_vgan.embed.matched.MatchedEmbedder", "folder": str(own)}
    config["model"]["generator"] = one_text_wide(config["model"]["generator"], 128)
    run = made_run(tmp_path / "run", clips, config=config)
    wanted = ode_vgan.load(run).sample(["a red ball"], TIMES, 0)
    folder = export_run(run, tmp_path / "out", texts=["a red ball"])
    shutil.rmtree(own)
    assert json.loads((folder / "config.json").read_text())["config"]["embed"]["folder"] == "embed"
    assert torch.equal(ode_vgan.load(folder).sample(["a red ball"], TIMES, 0), wanted)


def one_text_wide(node: dict, dim: int) -> dict:
    wide = {key: one_text_wide(value, dim) if isinstance(value, dict) else value for key, value in node.items()}
    return wide | ({"embed_dim": dim} if "embed_dim" in node else {})


def test_weights_of_an_embedder_that_may_hold_code_are_refused(clips: Path, tmp_path: Path):
    from ode_vgan.share.export import copy_embedder

    with pytest.raises(UserError, match="may hold code"):
        copy_embedder({"_target_": "x", "checkpoint": str(tmp_path / "weights.pt")}, tmp_path / "embed")

"""Laws of a CLIP for clips on disk: every kind of folder gives the same vectors, OpenCLIP reads what is exported."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from ode_vgan.embed.clip import ClipEmbedder
from ode_vgan.embed.clip_model import ClipModel, even_times
from ode_vgan.embed.export import export, load_exported
from ode_vgan.embed.matched import open_embedder
from ode_vgan.embed.pooling import AttentionPooling, MomentPooling
from ode_vgan.embed.saved import read_saved, save_learned
from ode_vgan.errors import UserError

open_clip = pytest.importorskip("open_clip")
TEXTS = ["a red ball falls", "a very happy cat, in reverse"]


@pytest.fixture(scope="module")
def scratch() -> ClipModel:
    torch.manual_seed(0)
    return ClipModel("clip-xs", AttentionPooling(64, 2), bias=True).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tiny() -> ClipModel:
    torch.manual_seed(0)
    model = ClipModel("clip-tiny", MomentPooling(128), lock_image=True, lock_text=True)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def exported(scratch: ClipModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "clip-xs"
    export(scratch, folder)
    return folder


def frames(side: int, clips: int = 2, count: int = 3) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(256, (clips, count, side, side, 3), dtype=torch.uint8, generator=draw)


def rows_of(model: ClipModel, clip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return model.encode_text(model.tokenize(TEXTS)), model.encode_clips(clip, even_times(*clip.shape[:2]))


def same_in_open_clip(model: ClipModel, folder: Path) -> None:
    """Frames and texts by OpenCLIP's own calls, from files alone."""
    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    clip = frames(model.image_size)
    pictures = torch.stack([preprocess(Image.fromarray(frame.numpy())) for frame in clip.flatten(0, 1)])
    theirs.eval()
    with torch.no_grad():
        rows, text = theirs.encode_image(pictures), theirs.encode_text(tokens, normalize=True)
    assert torch.allclose(rows, model.encode_frames(clip).flatten(0, 1), atol=1e-4)
    assert torch.allclose(text, model.encode_text(model.tokenize(TEXTS)), atol=1e-5)
    assert torch.equal(theirs.logit_scale, model.logit_scale)


def write_run(folder: Path, model: ClipModel, state: dict, more: dict | None = None) -> Path:
    arguments = model.described() | {"_target_": "ode_vgan.embed.clip_model.ClipModel", "weights": True}
    config = {"model": {"_target_": "ode_vgan.embed.train.ClipTraining", "clip": arguments}}
    content = {"ode_vgan": {"config": config, "clips_seen": 1}}
    content["state_dict"] = {f"clip.{name}": tensor for name, tensor in state.items()} | (more or {})
    (folder / "checkpoints").mkdir(parents=True)
    torch.save(content, folder / "checkpoints" / "last.ckpt")
    return folder


def test_open_clip_loads_an_exported_model_and_gives_the_same_rows(scratch: ClipModel, exported: Path):
    same_in_open_clip(scratch, exported)


def test_open_clip_loads_clip_tiny_without_the_hub(tiny: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    export(tiny, tmp_path / "first")
    same_in_open_clip(tiny, tmp_path / "first")

    (tmp_path / "first").rename(tmp_path / "moved")
    again = load_exported(tmp_path / "moved")
    for ours, theirs in zip(rows_of(tiny, frames(128)), rows_of(again, frames(128)), strict=True):
        assert torch.equal(ours, theirs)
    export(again, tmp_path / "second")
    same_in_open_clip(tiny, tmp_path / "second")

    export(again, tmp_path / "hub", hub=True)
    written = [path for path in (tmp_path / "hub").glob("*.json") if str(tmp_path) in path.read_text()]
    assert written == [], "a folder to be moved names no path of this machine"
    told = json.loads((tmp_path / "hub" / "open_clip_config.json").read_text())
    assert told["model_cfg"]["text_cfg"]["hf_model_name"] == "sentence-transformers/all-MiniLM-L6-v2"


def test_pictures_of_another_size_are_read_nearly_as_open_clip_reads_them(scratch: ClipModel, exported: Path):
    _, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{exported}")
    smooth = torch.linspace(0, 255, 48)[:, None, None] + torch.linspace(-60, 60, 64)[None, :, None]
    picture = smooth.clamp(0, 255).to(torch.uint8).expand(48, 64, 3).contiguous()
    ours = scratch.prepare(picture[None, None])[0]
    theirs = preprocess(Image.fromarray(picture.numpy()))
    assert (ours - theirs).abs().max() < 4 / 255 / min(scratch.towers.visual.preprocess_cfg["std"])


def test_a_run_its_learned_weights_and_its_export_give_the_same_vectors(
    scratch: ClipModel, exported: Path, tmp_path: Path
):
    run = write_run(tmp_path / "run", scratch, scratch.state_dict())
    save_learned(scratch, tmp_path / "learned", {"trained": {"clips": 3}})
    assert json.loads((tmp_path / "learned" / "config.json").read_text())["trained"] == {"clips": 3}
    clip = frames(32)
    text, rows = rows_of(scratch, clip)
    for folder, tolerance in ((run, 1e-6), (exported, 1e-6), (tmp_path / "learned", 5e-3)):  # float16 there
        embed = open_embedder(str(folder))
        assert isinstance(embed, ClipEmbedder) and embed.dim == 64
        assert torch.allclose(embed.encode_text(TEXTS), text, atol=tolerance)
        assert torch.allclose(embed.encode_frames(clip.numpy()), rows, atol=tolerance)
    prints = [ClipEmbedder(folder).fingerprint for folder in (run, exported, tmp_path / "learned")]
    assert prints[0] == prints[1] != prints[2]


def test_learned_weights_of_clip_tiny_are_small_and_stand_on_the_packages_towers(tiny: ClipModel, tmp_path: Path):
    save_learned(tiny, tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2_000_000
    embed = ClipEmbedder(tmp_path)
    text, rows = rows_of(tiny, frames(128, 1))
    assert embed.fingerprint.startswith("clip-tiny-")
    assert torch.allclose(embed.encode_text(TEXTS), text, atol=5e-3)
    assert torch.allclose(embed.encode_frames(frames(128, 1)), rows, atol=5e-3)

    config = json.loads((tmp_path / "config.json").read_text())
    config["towers"]["text"] = "0" * 64
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="learned on the text tower 0000"):
        ClipEmbedder(tmp_path).model  # noqa: B018


def test_the_bias_that_a_loss_brought_comes_along(tmp_path: Path):
    model = ClipModel("clip-xs", MomentPooling(64))
    run = write_run(tmp_path / "run", model, model.learned_state(), {"bias": torch.tensor(-3.0)})
    assert read_saved(run).build().logit_bias.item() == -3


def test_an_embedder_sees_order_and_takes_frames_times_and_pieces(scratch: ClipModel, exported: Path):
    embed, clip = ClipEmbedder(exported, batch=1), frames(32)
    rows = embed.encode_frames(clip)
    assert (rows - embed.encode_frames(clip.flip(1))).abs().max() > 1e-3
    assert (rows - embed.encode_frames(clip, torch.tensor([0.0, 0.1, 1.0]))).abs().max() > 1e-4
    assert torch.allclose(rows, ClipEmbedder(exported, batch=8).encode_frames(clip), atol=1e-6)
    each = embed.encode_each_frame(clip)
    assert each.shape == (2, 3, 64) and torch.allclose(each.norm(dim=-1), torch.ones(2, 3), atol=1e-5)
    alone = scratch.pool(scratch.encode_frames(clip[:1, :1]), torch.zeros(1, 1))
    assert torch.allclose(each[0, :1], normalize(alone, dim=-1), atol=1e-5)
    assert embed.encode_text([]).shape == (0, 64)


def test_what_is_no_whole_model_is_refused_in_a_line(scratch: ClipModel, exported: Path, tmp_path: Path):
    def broken(change) -> Path:
        folder = tmp_path / f"broken{len(list(tmp_path.iterdir()))}"
        shutil.copytree(exported, folder)
        change(folder)
        return folder

    def another(folder: Path) -> None:
        told = json.loads((folder / "clip_pooling.json").read_text())
        told["clip"]["model"] = "clip-s"
        (folder / "clip_pooling.json").write_text(json.dumps(told))

    gan = write_run(tmp_path / "gan", scratch, {})
    content = torch.load(gan / "checkpoints" / "last.ckpt")
    content["ode_vgan"]["config"]["model"] = {"_target_": "ode_vgan.gan.VideoGan"}
    torch.save(content, gan / "checkpoints" / "last.ckpt")
    for folder, says in (
        (tmp_path / "nowhere", "no embedder .*nowhere"),
        (tmp_path, "holds no CLIP for clips"),
        (gan, "the run trained ode_vgan.gan.VideoGan, no CLIP"),
        (write_run(tmp_path / "other", scratch, {"pooling.w": torch.zeros(1)}), "not clip-xs's with this pooling"),
        (broken(lambda folder: (folder / "open_clip_model.safetensors").unlink()), "model.safetensors cannot be read"),
        (broken(lambda folder: (folder / "clip_pooling.safetensors").write_bytes(b"x")), "cannot be read"),
        (broken(lambda folder: (folder / "clip_pooling.json").write_text("{")), "clip_pooling.json cannot be read"),
        (broken(lambda folder: (folder / "clip_pooling.json").write_text("{}")), "no clip.model"),
        (broken(another), "not clip-s's with this pooling: .*another shape"),
    ):
        with pytest.raises(UserError, match=says) as caught:
            open_embedder(str(folder)).model  # noqa: B018
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="has no clip_pooling.json"):
        load_exported(tmp_path)

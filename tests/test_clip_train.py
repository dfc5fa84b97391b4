"""Laws of contrastive training: losses, locked features, playing backwards, schedule, resume, and what it learns."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.functional import cross_entropy, logsigmoid, normalize

from ode_vgan.callbacks import ClipBar
from ode_vgan.data.drawn_captions import Curated
from ode_vgan.data.drawn_loader import DrawnData
from ode_vgan.data.windows import Sampling, draw_window
from ode_vgan.embed.clip_model import ClipModel
from ode_vgan.embed.none import NoEmbedder
from ode_vgan.embed.pooling import MeanPooling, MomentPooling
from ode_vgan.embed.remembered import Remembered
from ode_vgan.embed.standardised import Standardised
from ode_vgan.embed.train import ClipTraining, digests, enough, same_captions
from ode_vgan.embed.validation import Encoder, played, validate, validation_clips
from ode_vgan.errors import UserError
from ode_vgan.losses.contrastive import ClipLoss, SigLipLoss
from ode_vgan.metrics.during import TrainingScore
from tests.tiny import REPOSITORY

RECIPE = {
    "lr": 2e-3, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.1, "warmup_clips": 16, "dropout": 0.0,
    "reverse": 0.0, "keep_features": 0, "max_clips": 64, "seed": 0,
}  # fmt: skip


def training(loss: nn.Module | None = None, pooling: nn.Module | None = None, **changes) -> ClipTraining:
    torch.manual_seed(0)
    clip = ClipModel("clip-xs", pooling or MomentPooling(64), weights=False)
    return ClipTraining(clip, loss or ClipLoss(), **(RECIPE | changes))


def drawn(clips: int = 32, batch: int = 16) -> DrawnData:
    sizes = {"clips": clips, "val_clips": 24, "test_clips": 8, "frames": 3, "size": 32, "batch": batch}
    return DrawnData(NoEmbedder(), distribution=Curated(), noise=0.0, **sizes)


def fit(module: ClipTraining, folder, epochs: int, ckpt_path: str | None = None) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = pl.Trainer(
        max_epochs=epochs, limit_train_batches=2, default_root_dir=folder, callbacks=[ClipBar()],
        enable_checkpointing=False, **quiet,
    )  # fmt: skip
    trainer.fit(module, drawn(), ckpt_path=ckpt_path)
    return trainer


def pairs(count: int = 6, dim: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return tuple(normalize(torch.randn(count, dim, generator=draw), dim=-1) for _ in range(2))


@pytest.mark.parametrize("kind", [ClipLoss, SigLipLoss])
def test_a_loss_is_openclips_where_all_captions_differ(kind):
    import open_clip

    text, clips = pairs()
    scale, bias = torch.tensor(12.0), None if kind.bias is None else torch.tensor(kind.bias)
    theirs = getattr(open_clip.loss, kind.__name__)()(clips, text, scale, bias)
    assert torch.equal(kind()(text, clips, scale, bias, torch.zeros(6, 6, dtype=torch.bool)), theirs)


def test_pairs_of_the_same_words_are_no_negatives():
    text, clips = pairs()
    same = same_captions(digests(["a", "b", "a", "c", "d", "e"]))
    assert same.nonzero().tolist() == [[0, 2], [2, 0]]
    logits = 12.0 * text @ clips.T
    own = torch.arange(6)
    left = logits.masked_fill(same, -math.inf)
    expected = (cross_entropy(left, own) + cross_entropy(left.T, own)) / 2
    assert torch.allclose(ClipLoss()(text, clips, torch.tensor(12.0), None, same), expected, atol=1e-6)
    signs = 2 * torch.eye(6) - 1
    expected = -(logsigmoid(signs * (logits - 10)) * ~same).sum() / 6
    assert torch.allclose(SigLipLoss()(text, clips, torch.tensor(12.0), torch.tensor(-10.0), same), expected)


@pytest.mark.parametrize("bias", [True, False])
def test_a_standardised_map_and_the_layer_it_is_folded_into_agree(bias):
    torch.manual_seed(0)
    features = torch.rand(200, 3, 8) * torch.logspace(-0.3, 0.3, 8) + torch.arange(8)
    layer = nn.Linear(8, 4, bias=bias)
    mapped = Standardised(layer)
    mapped.look(lambda: features)
    mapped.look(lambda: features + 100)  # the first batch decides
    mapped.fold()
    assert torch.allclose(layer(features), mapped(features), atol=1e-4)
    x = mapped._centred(features).flatten(0, 1) / mapped.deviation
    if bias:
        assert torch.allclose(x.mean(0), torch.zeros(8), atol=1e-4) and ((x.std(0) - 1).abs() < 0.05).all()
    else:  # what all features have in common says nothing
        assert torch.allclose(layer(features + 3 * mapped.mean), layer(features), atol=1e-4)
    assert not layer.weight.requires_grad and mapped.weight.requires_grad


def test_each_content_is_computed_once_and_what_is_remembered_is_bounded(tmp_path):
    asked = []

    def compute(missing: list[int]) -> torch.Tensor:
        asked.extend(missing)
        return torch.stack([torch.full((2,), float(i)) for i in missing])

    keys = [bytes([i]) * 32 for i in (0, 1, 0, 2)]
    memory = Remembered(2, tmp_path / "rows.npz", 2)
    assert memory(keys, compute)[:, 0].tolist() == [0, 1, 0, 3] and asked == [0, 1, 3]
    assert memory(keys[3:], compute)[:, 0].tolist() == [3] and len(asked) == 3
    assert len(memory.rows) == 2
    memory.save()
    again = Remembered(2, tmp_path / "rows.npz", 2)
    assert again(keys[3:], compute)[:, 0].tolist() == [3] and len(asked) == 3
    none = Remembered(0, None, 2)
    none(keys, compute), none(keys, compute)
    assert len(asked) == 9 and not none.rows


def test_clips_played_backwards_say_so_and_their_times_still_rise():
    frames = torch.arange(2 * 3).view(2, 3, 1, 1, 1).to(torch.uint8).expand(2, 3, 4, 4, 3)
    times = torch.tensor([[0, 0.1, 1.0]] * 2)
    shown, later, captions = played(frames, times, ["a", "b"], torch.tensor([False, True]))
    assert torch.equal(shown[0], frames[0]) and torch.equal(shown[1], frames[1].flip(0))
    assert torch.allclose(later, torch.tensor([[0, 0.1, 1.0], [0, 0.9, 1.0]]))
    assert captions == ["a", "b, in reverse"]


def test_whole_windows_run_from_the_first_frame_to_the_last_at_their_true_times():
    times = np.array([0, 0.1, 0.3, 0.6, 1.0])
    index, seconds = draw_window(times, 3, Sampling(whole=True, loop=True), np.random.default_rng(0), period_seconds=2)
    assert index.tolist() == [0, 2, 4] and np.allclose(seconds, [0, 0.3, 1.0])
    assert Sampling(whole=True, loop=True).needed(3) == 3 and Sampling(whole=True).plain().whole
    with pytest.raises(UserError, match="5 frames where 6 are needed"):
        draw_window(times, 6, Sampling(whole=True), np.random.default_rng(0))
    with pytest.raises(UserError, match="Set one of them to false"):
        Sampling(strides=(2,), whole=True, irregular=True)


def test_the_step_size_rises_over_the_warm_up_and_falls_by_a_cosine():
    module = training(max_clips=116, warmup_clips=16)
    sizes = []
    for seen in (0, 15, 16, 66, 116):
        module.clips_seen = seen
        sizes.append(module._share())
    assert sizes == pytest.approx([1 / 16, 1.0, 1.0, 0.5, 0.0])


def test_a_resumed_run_makes_the_steps_of_an_uninterrupted_one(tmp_path):
    whole = training(reverse=0.5)
    fit(whole, tmp_path, epochs=2)
    first = fit(training(reverse=0.5), tmp_path, epochs=1)
    first.save_checkpoint(tmp_path / "half.ckpt")
    resumed = training(reverse=0.5, seed=0)
    fit(resumed, tmp_path, epochs=2, ckpt_path=str(tmp_path / "half.ckpt"))
    assert whole.clips_seen == resumed.clips_seen == 64
    for (name, ours), theirs in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_the_clips_of_a_small_set_are_learned_by_heart(tmp_path):
    module = training(max_clips=960, lr=3e-3)
    fit(module, tmp_path, epochs=30)
    batch = drawn().sets["train"].batch(range(32))
    with torch.no_grad():
        text = module.clip.eval().encode_text(module.clip.tokenize(batch["caption"]))
        clips = module.clip.encode_clips(batch["frames"], batch["times"])
    found = ((text @ clips.T).argmax(1) == torch.arange(32)).float().mean()
    assert found > 0.5, "chance is 0.03"
    assert 1 <= float(module.clip.logit_scale.detach().exp()) <= 100.001


def test_validation_is_blind_to_direction_with_a_mean_and_counts_each_clip_once():
    module = training(pooling=MeanPooling(), reverse=0.5)
    clips = validation_clips(drawn())
    assert len(clips.captions) == 24
    found = validate(Encoder(module.clip.eval(), module.features), clips, reverse=True)
    assert found["val/direction"] == 0.5
    assert {"val/R@1", "val/R@5", "val/R@10", "val/MRR", "val/back/R@1"} <= found.keys()
    assert "val/direction" not in validate(Encoder(module.clip, module.features), clips, reverse=False)


def test_parts_add_up_in_what_is_counted():
    module = training()
    macs = module.count(frames=3, size=32, gap_seconds=0.1, embed_dim=1)
    assert macs["forward"] == macs["image"] + macs["text"] + macs["pooling"] > 0
    one = module.count(frames=1, size=32, gap_seconds=0.1, embed_dim=1)
    assert macs["image"] == 3 * one["image"] and macs["text"] == one["text"]
    sizes = module.facts({})["parameters"]
    assert sizes["total"] == sizes["image"] + sizes["text"] + sizes["pooling"] == sizes["learned"]


def test_what_cannot_be_trained_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(UserError, match="none is locked. Set it to 0"):
        training(dropout=0.5)
    with pytest.raises(UserError, match="set loss=clip"):
        training(nn.Identity())
    with pytest.raises(UserError, match="give shares"):
        training(reverse=1.5)
    with pytest.raises(UserError, match="1 clips of a batch of 2 have captions"):
        enough(["a"], torch.device("cpu"), batch=2)
    score = TrainingScore([], "val", 0, 10)
    with pytest.raises(UserError, match="Set metrics=none"):
        training().watchers(tmp_path, {"samples": {"every_clips": 1, "clips": 1}}, score)


def test_locked_towers_stay_as_they_are_and_the_model_is_what_was_learned(tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch")
    torch.manual_seed(0)
    clip = ClipModel("clip-tiny", MomentPooling(128), lock_image=True, lock_text=True)
    before = {name: tensor.clone() for name, tensor in clip.state_dict().items()}
    module = ClipTraining(clip, ClipLoss(), **(RECIPE | {"dropout": 0.5, "reverse": 0.5, "keep_features": 0}))
    fit(module, tmp_path, epochs=1)
    moved = {name for name, tensor in clip.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved and not any(name.startswith(("towers.visual.trunk", "towers.text.transformer")) for name in moved)
    assert {"towers.visual.head.proj.weight", "towers.text.proj.weight"} <= moved
    batch = drawn().sets["train"].batch(range(4))
    features = clip.image_features(batch["frames"])
    with torch.no_grad():
        assert torch.allclose(clip.project_frames(features), module.maps["image"](features), atol=1e-4)
        text = clip.text_features(clip.tokenize(batch["caption"]))
        learned = normalize(module.maps["text"](text), dim=-1)
        assert torch.allclose(clip.project_text(text), learned, atol=1e-4)


@pytest.mark.slow
def test_train_py_trains_it_on_a_folder_of_clips_and_leaves_what_an_embedder_reads(tmp_path):
    from ode_vgan.data.shapes import write_shapes
    from ode_vgan.embed.clip import ClipEmbedder
    from ode_vgan.scaling.ledger import read

    write_shapes(tmp_path / "clips", 24, seed=0, frames=8, size=16)
    words = [
        "+experiment=clip_tiny", "data=folder", f"data.source={tmp_path / 'clips'}", "data.frames=4", "data.size=16",
        "data.batch=8", "data.val_share=0.3", "max_clips=32", "tick_clips=16", "samples.every_clips=16",
        "model.clip.model=clip-xs", "model.clip.pooling.dim=64", "model.clip.lock_image=false",
        "model.clip.lock_text=false", "model.dropout=0", "model.keep_features=0", "loss=siglip",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "train.py"), *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "clip_tiny" / "clip-xs-seed0"
    content = json.loads((run / "metrics.json").read_text())
    assert content["clips_seen"] == 32 and {"val/R@1", "val/direction"} <= content["score"].keys()
    assert all((run / name).stat().st_size > 0 for name in ("nearest.png", "curves.png"))
    assert {"R@1", "direction"} <= set(read(run.parent / "ledger")["metric"].to_pylist())
    rows = ClipEmbedder(run).encode_text(["a red ball"])
    assert rows.shape == (1, 64) and torch.allclose(rows.norm(dim=1), torch.ones(1), atol=1e-5)

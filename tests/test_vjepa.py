"""The published files were never seen here: random ones of their names and shapes stand in."""

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, layer_norm, multi_head_attention_forward

from ode_vgan.errors import UserError
from ode_vgan.metrics.features import find_extractor
from ode_vgan.metrics.vjepa import Block, Encoder, Pooler, Vjepa
from ode_vgan.metrics.weights import MissingWeights

TINY = {"width": 16, "depth": 2, "heads": 2}


def drawn(net: nn.Module, seed: int = 0) -> nn.Module:
    """The net with every weight drawn, biases and norms too."""
    draw = torch.Generator().manual_seed(seed)
    for weight in net.parameters():
        weight.data = torch.randn(weight.shape, generator=draw) * 0.3
    return net.eval().requires_grad_(False)


def write(folder, encoder: nn.Module, pooler: nn.Module):
    averaged = {f"module.backbone.{name}": weight for name, weight in encoder.state_dict().items()}
    plain = {name: weight + 1 for name, weight in averaged.items()}
    probe = {f"module.pooler.{name}": weight for name, weight in pooler.state_dict().items()}
    probe |= {"module.linear.weight": torch.zeros(174, 16), "module.linear.bias": torch.zeros(174)}
    torch.save({"encoder": plain, "target_encoder": averaged, "epoch": 3}, folder / "vith16.pth.tar")
    torch.save({"classifier": probe, "epoch": 3}, folder / "ssv2-probe.pth.tar")
    return str(folder / "vith16.pth.tar")


@pytest.fixture(scope="module")
def nets():
    encoder, pooler = drawn(Encoder(**TINY)), drawn(Pooler(16, 2), 1)
    encoder.pos_embed[0, 0] = (torch.arange(16) // 8).float()
    return encoder, pooler


@pytest.fixture(scope="module")
def path(nets, tmp_path_factory):
    return write(tmp_path_factory.mktemp("vjepa"), *nets)


def test_a_block_is_a_transformer_layer_that_normalises_first():
    block = drawn(Block(16, 4))
    layer = nn.TransformerEncoderLayer(16, 4, 64, 0.0, gelu, 1e-6, batch_first=True, norm_first=True).eval()
    layer.load_state_dict(
        {
            "self_attn.in_proj_weight": block.attn.qkv.weight,
            "self_attn.in_proj_bias": block.attn.qkv.bias,
            "self_attn.out_proj.weight": block.attn.proj.weight,
            "self_attn.out_proj.bias": block.attn.proj.bias,
            **{
                f"linear{i}.{part}": getattr(getattr(block.mlp, f"fc{i}"), part)
                for i in (1, 2)
                for part in ("weight", "bias")
            },
            **{
                f"norm{i}.{part}": getattr(getattr(block, f"norm{i}"), part)
                for i in (1, 2)
                for part in ("weight", "bias")
            },
        }
    )
    x = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(block(x), layer(x), atol=1e-5)


def test_the_pooler_reads_normalised_tokens_with_a_raw_query():
    pooler = drawn(Pooler(16, 2))
    block, x = pooler.cross_attention_block, torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(2))
    told = layer_norm(x, (16,), block.norm1.weight, block.norm1.bias).transpose(0, 1)
    queries = pooler.query_tokens.expand(2, -1, -1).transpose(0, 1)
    read, _ = multi_head_attention_forward(
        *(queries, told, told, 16, 2),
        *(
            torch.cat([block.xattn.q.weight, block.xattn.kv.weight]),
            torch.cat([block.xattn.q.bias, block.xattn.kv.bias]),
        ),
        *(None, None, False, 0.0, block.xattn.proj.weight, block.xattn.proj.bias),
    )
    rows = (queries + read)[0]
    rows = rows + block.mlp(layer_norm(rows, (16,), block.norm2.weight, block.norm2.bias))
    assert torch.allclose(pooler(x), rows, atol=1e-5)


def test_tokens_run_over_time_then_rows_then_columns():
    encoder = drawn(Encoder(width=8, depth=0, heads=1))
    x = torch.zeros(1, 3, 16, 224, 224)
    before = encoder(x)
    x[0, :, 5, 40, 100] = 1  # tubelet 2, row 2, column 6
    changed = (encoder(x) - before).abs().sum(-1)[0].nonzero().flatten()
    assert changed.tolist() == [2 * 196 + 2 * 14 + 6]


def test_the_full_encoder_has_the_published_size():
    with torch.device("meta"):
        encoder = Encoder(width=1280, depth=32, heads=16)
    assert encoder.pos_embed.shape == (1, 1568, 1280)
    assert sum(part.numel() for part in encoder.blocks[0].parameters()) == 12 * 1280**2 + 13 * 1280


def test_the_averaged_encoder_and_the_pooler_are_read_from_their_checkpoints(path, nets):
    extractor = Vjepa(path, **TINY)
    clips = torch.randint(0, 256, (1, 16, 20, 20, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rows = extractor(clips)
    assert rows.shape == (1, 16)
    assert torch.allclose(rows, nets[1](nets[0](extractor.preprocess(clips))).double(), atol=1e-5)
    extractor.self_test()
    with pytest.raises(UserError, match="got 20 frames, reads 16"):
        extractor(torch.zeros(1, 20, 20, 20, 3, dtype=torch.uint8))


def test_colours_are_standardised_as_imagenets(path):
    x = Vjepa(path, **TINY).preprocess(torch.full((1, 16, 20, 30, 3), 255, dtype=torch.uint8))
    assert x.shape == (1, 3, 16, 224, 224)
    white = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(x.mean((0, 2, 3, 4)), white, atol=1e-4)


def test_a_file_without_the_sines_fails_the_self_test(nets, tmp_path):
    encoder = Encoder(**TINY)
    encoder.load_state_dict(nets[0].state_dict())
    encoder.pos_embed.data += 0.5
    with pytest.raises(UserError, match="not V-JEPA's"):
        Vjepa(write(tmp_path, encoder, nets[1]), **TINY).self_test()


def test_missing_and_foreign_files_are_told(path, tmp_path, monkeypatch):
    monkeypatch.setenv("ODE_VGAN_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("ODE_VGAN_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match="vith16.pth.tar.*CC-BY-NC.*hog3d"):
        find_extractor("vjepa")
    torch.save({}, tmp_path / "vith16.pth.tar")
    with pytest.raises(MissingWeights, match="ssv2-probe.pth.tar"):
        Vjepa()
    with pytest.raises(UserError, match="does not fit Encoder"):
        Vjepa(path, width=16, depth=3, heads=2)

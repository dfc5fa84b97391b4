"""Laws of `ode-vgan clip`: what is printed, what is written, and how errors read."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ode_vgan.cli.main import main
from ode_vgan.embed.contrastive import Recipe
from tests.coloured import write_coloured

pytest.importorskip("efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is not installed")


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coloured")
    write_coloured(folder, each=3)
    return str(folder)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, coloured):
    """Two small fits of one family, at 32 px so that they cost little."""
    from ode_vgan.embed.matched import fit_matched

    folder = tmp_path_factory.mktemp("fits")
    recipe = Recipe(dim=8, steps=20, every=10)
    for seed in (0, 1):
        fit_matched(coloured, folder / f"fit-seed{seed}", seed=seed, side_px=32, frames=2, val_share=0.2, recipe=recipe)
    return [str(folder / f"fit-seed{seed}") for seed in (0, 1)]


def test_eval_prints_chance_and_intervals_and_writes_the_whole_protocol(coloured, fitted, tmp_path, capsys):
    asked = ["--data", coloured, "--classes", "colour", "--least", "2", "--frames", "2", "--draws", "200"]
    files = ["--json", str(tmp_path / "e.json"), "--markdown", str(tmp_path / "e.md")]
    assert main(["clip", "eval", *fitted, fitted[0] + "/", *asked, "--val-share", "0.3", *files]) == 0
    out = capsys.readouterr().out
    assert "fit, 2 runs" in out and "| text to clip" in out and "| probe colour" in out and "chance" in out
    told = json.loads((tmp_path / "e.json").read_text())
    assert {"command", "protocol", "subjects", "results", "differences"} == told.keys()
    assert told["protocol"]["held"]["digest"] in json.dumps(told) and len(told["protocol"]["held"]["digest"]) == 64
    assert all(one["fingerprint"].startswith("matched-") for one in told["subjects"].values())
    assert all(row["low"] <= row["value"] <= row["high"] for row in told["results"])
    first = (tmp_path / "e.md").read_text().splitlines()[0]
    assert first.startswith("`ode-vgan clip eval ") and "--least 2 --frames 2 " in first and "--seeds" not in first


def test_the_same_command_prints_the_same_numbers(coloured, fitted, capsys):
    asked = ["clip", "eval", fitted[0], "--data", coloured, "--tasks", "retrieval,zeroshot", "--frames", "2"]
    first, second = ((main(asked), capsys.readouterr().out)[1] for _ in range(2))
    assert first == second and "Probes learn" not in first


def test_search_prints_the_nearest_and_draws_them(coloured, fitted, tmp_path, capsys):
    out = tmp_path / "nearest.png"
    asked = [
        "--text",
        "a red clip",
        "--text",
        "blue",
        "--data",
        coloured,
        "--split",
        "all",
        "--top",
        "3",
        "--frames",
        "2",
    ]
    assert main(["clip", "search", fitted[0], *asked, "--shown", "2", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n| a red clip ") == 3 and str(out) in printed
    page = np.asarray(Image.open(out).convert("RGB"))
    assert page.shape[1] > 3 * 2 * 64


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["eval", "nowhere"], "nowhere does not exist and is no embedder by name"),
        (["eval", "matched", "--tasks", "retreival"], "no task retreival; choose among retrieval"),
        (["eval", "matched", "--split", "dev"], "give one of test, val, train"),
        (["eval", "matched", "--data", "nowhere"], "no folder 'nowhere'"),
        (["eval", "matched", "--data", "shapes", "--tasks", "probe"], "probe of shapes need classes; give --classes"),
        (["eval", "matched", "--classes", "texture", "--limit", "3", "--frames", "1"], "clips have no 'texture'"),
        (["eval", "openclip:ViT-B-32"], "openclip:MODEL:CHECKPOINT"),
        (["eval", "openclip:ViT-Q:x.pt"], "OpenCLIP has no model 'ViT-Q'"),
        (["eval", "matched", "--draws", "3"], "must be at least 100"),
        (["eval", "matched", "--json", "."], "is a folder; name a file"),
        (["search", "matched"], "required: --text"),
        (["search", "matched", "--text", "x", "--out", "x.gif"], "is no .png"),
        (["search", "matched", "--text", "x", "--limit", "2", "--top", "9", "--frames", "1"], "9 nearest of 2 clips"),
        (["export", "matched", "--out", "x"], "matched is no CLIP model of this project"),
        (["exprot"], "invalid choice: 'exprot'"),
    ],
)
def test_a_users_error_is_one_line_and_exit_code_2(asked, told, capsys):
    assert main(["clip", *asked]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("ode-vgan: error: ") and err.count("\n") == 1
    assert told in err


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small model without training, in OpenCLIP's format."""
    pytest.importorskip("open_clip", reason="open-clip-torch is not installed")
    from ode_vgan.embed.clip_model import ClipModel
    from ode_vgan.embed.export import export
    from ode_vgan.embed.pooling import MomentPooling

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("exported") / "xs-seed4"
    export(ClipModel("clip-xs", MomentPooling(64)).eval(), folder)
    return str(folder)


def test_an_exported_model_is_judged_fine_tuned_and_told_apart_in_time(coloured, exported, tmp_path, capsys):
    asked = ["--data", coloured, "--classes", "colour", "--least", "2", "--frames", "3", "--draws", "100"]
    tasks = ["--tasks", "retrieval,direction,finetune", "--seeds", "2", "--epochs", "1", "--val-share", "0.3"]
    assert main(["clip", "eval", exported, *asked, *tasks, "--json", str(tmp_path / "e.json")]) == 0
    assert "| fine-tuned colour" in capsys.readouterr().out
    told = json.loads((tmp_path / "e.json").read_text())
    found = {f"{row['task']} {row['metric']}": row for row in told["results"]}
    assert found["direction cosine of both ways"]["value"] < 1 - 1e-6  # the moment sees the order
    facts = told["subjects"][exported]
    assert len(facts["finetune colour"]["epochs"]) == 2 and facts["family"].endswith("/xs")


def test_export_writes_what_it_read_and_refuses_a_folder_in_use(exported, tmp_path, capsys):
    assert main(["clip", "export", exported, "--out", str(tmp_path / "again")]) == 0
    assert "embeddings differ by 0 at most" in capsys.readouterr().out
    assert (tmp_path / "again" / "open_clip_config.json").is_file()
    assert main(["clip", "export", exported, "--out", str(tmp_path / "again")]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(["clip", "export", str(tmp_path), "--out", str(tmp_path / "other")]) == 2
    assert "holds no CLIP for clips" in capsys.readouterr().err

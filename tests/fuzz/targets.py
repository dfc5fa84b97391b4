"""What reads data from elsewhere, each as a target: a folder to work in, and one input at a time."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import torch

from ode_vgan.errors import UserError
from tests.fuzz.media import Clips, Tars
from tests.fuzz.mutate import mutated, text, value
from tests.fuzz.tables import Parquet


class Captions:
    """Words: into a shard and back, onto a grid, into a page, through the text embedder."""

    def __init__(self, folder: Path):
        from ode_vgan.embed.sentence import SentenceEmbedder

        self.folder, self.embed = folder, SentenceEmbedder()
        self.clip = np.zeros((1, 2, 16, 16, 3), np.uint8)

    def one(self, draw: np.random.Generator) -> None:
        from ode_vgan.data.shards import Sample, read_index, write_shard
        from ode_vgan.report.html import _block
        from ode_vgan.report.page import Text
        from ode_vgan.report.video import grid_png
        from ode_vgan.web.studio_asked import asked_clip

        caption, way = text(draw), int(draw.integers(5))
        if way == 0:
            write_shard(self.folder / "words", "00000", [Sample("0", b"\0", caption)])
            back = read_index(self.folder / "words")[0].caption or ""
            assert back.strip() == caption.strip(), "a caption changed on its way"
        elif way == 1:
            grid_png(self.folder / "grid.png", self.clip, [caption])
        elif way == 2:
            page = _block(Text(caption))
            assert "<script" not in page and "<b>" not in page.replace("<b>", "", 0 if "<b>" in caption else 1)
        elif way == 3:
            rows = self.embed.encode_text([caption])
            assert bool(rows.isfinite().all()) and abs(float(rows.norm()) - 1) < 1e-3, (
                "a vector that is not of length 1"
            )
        else:
            asked_clip({"run": "a", "text": caption, "times": [0.0]})


class Requests:
    """What a page, or somebody who writes to its server, may ask."""

    def __init__(self, folder: Path):
        self.fields = (
            "run",
            "times",
            "text",
            "text_to",
            "text_mix",
            "seed",
            "seed_to",
            "seed_mix",
            "noise",
            "page",
            "turn",
        )

    def one(self, draw: np.random.Generator) -> None:
        from ode_vgan.web.asked import asked_filter, asked_name, asked_page
        from ode_vgan.web.studio_asked import asked_clip, asked_clips

        body = {"run": "a", "text": "b", "times": [0.0, 0.1]}
        for name in draw.choice(self.fields, size=draw.integers(0, 3), replace=False):
            body[str(name)] = value(draw)
        body = json.loads(json.dumps(body))  # as the server has it
        kinds = (asked_clip, lambda one: asked_clips({"clips": [one]}), lambda one: asked_filter({"filter": one}))
        others = (lambda one: asked_page({"offset": one.get("seed", 0)}), lambda one: asked_name({"name": one["text"]}))
        (*kinds, *others)[draw.integers(5)](body)


class Configs:
    """Config nodes: a run's own with values of another kind, classes from elsewhere, keys that nobody knows."""

    def __init__(self, folder: Path):
        self.node = {
            "_target_": "ode_vgan.temporal.ode.OdePath", "dim": 4, "embed_dim": 2, "hidden": 8, "depth": 1, "order": 1,
            "time_input": False, "text_input": True, "rate": 3.0, "decay": 0.5, "solver": "midpoint",
        }  # fmt: skip
        self.targets = (
            "os.system",
            "builtins.eval",
            "subprocess.run",
            "ode_vgan.build.build",
            "ode_vgan.",
            "x",
            "ode_vgan.os",
        )

    def one(self, draw: np.random.Generator) -> None:
        from ode_vgan.build import build
        from ode_vgan.runs import check_same_run

        node = dict(self.node)
        names = list(node)
        for i in draw.integers(len(names), size=draw.integers(1, 4)):
            what = draw.random()
            if names[i] == "_target_":
                node["_target_"] = self.targets[draw.integers(len(self.targets))] if what < 0.5 else text(draw, 3)
            elif what < 0.15:
                node.pop(names[i], None)
            elif what < 0.25:
                node[text(draw, 2)] = value(draw)
            else:
                node[names[i]] = value(draw)
        check_same_run(Path("nowhere"), {"temporal": node})
        build(node)


class Checkpoints:
    """Checkpoints: mutated ones, foreign ones, and ones that would run code."""

    def __init__(self, folder: Path):
        from ode_vgan.data.shapes import write_shapes
        from tests.made_runs import made_config, made_run

        clips = write_shapes(folder / "clips", 2, frames=4, size=16)
        run = made_run(folder / "run", clips)
        self.path = run / "checkpoints" / "last.ckpt"
        self.mark = folder / "was_here"
        self.seeds, self.config = [self.path.read_bytes()], made_config(clips)

    def one(self, draw: np.random.Generator) -> None:
        from ode_vgan import load

        what = draw.random()
        if what < 0.6:
            self.path.write_bytes(mutated(self.seeds, draw))
        elif what < 0.7:
            self.path.write_bytes(pickle.dumps(Evil(self.mark), protocol=int(draw.integers(2, 5))))
        elif what < 0.8:
            torch.save({"ode_vgan": {"config": Evil(self.mark), "clips_seen": 1}, "state_dict": {}}, self.path)
        else:
            config = dict(self.config)
            config[str(draw.choice(list(config)))] = value(draw)
            torch.save(
                {"ode_vgan": value(draw) if what < 0.85 else {"config": config, "clips_seen": 1}, "state_dict": {}},
                self.path,
            )
        try:
            load(self.path).draw(1, 0)
        finally:
            assert not self.mark.exists(), "a program of the checkpoint was run"


class Evil:
    """An object whose unpickling starts a program, which leaves a mark."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.mark}",)


class Commands:
    """Command lines of ode-vgan: options with values of another kind, paths that lead nowhere, verbs mistyped."""

    def __init__(self, folder: Path):
        self.words = (
            "sample evaluate continuous compare data laion clip scale weights studio export --help --text --fps "
            "--seconds --times --seed --count --out --clips --protocol --device --json --frames --where --metric --law "
            "--bins select fetch score index explore eval search collect fit predict report emoji check show 0 -1 "
            "1e400 nan 3 0,0.1 "
            "nowhere ./missing.ckpt fd20_hog3d cpu nan,1 ode"
        ).split()  # fmt: skip

    def one(self, draw: np.random.Generator) -> None:
        from contextlib import redirect_stderr, redirect_stdout

        from ode_vgan.cli.main import VERBS, main

        words = [self.words[i] for i in draw.integers(len(self.words), size=draw.integers(0, 7))]
        if draw.random() < 0.7:
            verbs = [verb for verb in VERBS if verb != "bench"]
            words = [verbs[draw.integers(len(verbs))], *words]
        if draw.random() < 0.3:
            words.insert(int(draw.integers(len(words) + 1)), text(draw, 3))
        words = [word for word in words if word not in ("i3d", "c3d", "bench")]  # they fetch, or run for minutes
        said, told = io.StringIO(), io.StringIO()
        with redirect_stdout(told), redirect_stderr(said):
            try:
                code = main(words)
            except SystemExit as error:
                code = error.code
        if code not in (0, None):
            lines = said.getvalue().strip().splitlines()
            assert code == 2 and lines and "error:" in lines[-1], f"code {code}: {said.getvalue()[:120]}"
            raise UserError(lines[-1])


class Bad:
    """What the watch must find: in turn a write outside, a program, a death and a traceback."""

    def __init__(self, folder: Path):
        self.turn = int((folder.parent / "place").read_text())

    def one(self, draw: np.random.Generator) -> None:
        import os
        import subprocess

        if draw.bit_generator.seed_seq.entropy[1] >= 2**31:  # warming up
            return
        turn, self.turn = self.turn, self.turn + 1
        if turn == 0:
            Path(os.environ["ODE_VGAN_FUZZ_BAD"]).write_text("x")
        elif turn == 1:
            subprocess.run(["true"], check=True)
        elif turn == 2:
            os.abort()
        raise KeyError(turn) if turn == 3 else UserError("refused")


TARGETS = {
    "clips": Clips, "tars": Tars, "parquet": Parquet, "captions": Captions, "requests": Requests, "configs": Configs,
    "checkpoints": Checkpoints, "commands": Commands, "bad": Bad,
}  # fmt: skip

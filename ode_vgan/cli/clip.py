"""ode-vgan clip: judge embedders of texts and clips, export them for open_clip, and look for clips by words."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ode_vgan.cli.clip_eval import SUBJECTS, add_eval
from ode_vgan.cli.device import device
from ode_vgan.cli.laion_engine import Plain, at_least
from ode_vgan.errors import UserError

if TYPE_CHECKING:
    from ode_vgan.embed.clip_model import ClipModel

SAME = 1e-4  # between numbers of unit rows, before and after export


def add_parser(subparsers) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "clip",
        help="judge, export and search with embedders of texts and clips",
        description="Embedders put texts and clips in one space: the shipped ones, those of OpenCLIP, and your own, "
        "which `python train.py +experiment=clip_tiny` trains.",
        epilog="examples:\n  ode-vgan clip eval clip_tiny matched --data emoji\n"
        '  ode-vgan clip search clip_tiny --text "an animal that flies" --out nearest.png',
        formatter_class=Plain,
    )
    actions = parser.add_subparsers(dest="action", metavar="VERB", required=True)
    add_eval(actions)
    add_export(actions)
    add_search(actions)


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    args.clip_run(args)
    return 0


def add_export(actions) -> None:
    """Describe `export`."""
    parser = actions.add_parser(
        "export",
        help="write a trained model as a folder that open_clip loads",
        description="OpenCLIP's local-dir format, with this project's clip pooling beside it; the folder is read back "
        "and gives the same embeddings, or it is an error.",
        epilog="example:\n  ode-vgan clip export runs/clip_tiny/clip-tiny-seed0 --out clip-tiny",
        formatter_class=Plain,
    )
    parser.set_defaults(clip_run=run_export)
    parser.add_argument("subject", metavar="SUBJECT", help="clip_tiny, a run folder or an exported folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument("--hub", action="store_true", help="name MiniLM as the hub does: to move or upload the folder")


def add_search(actions) -> None:
    """Describe `search`."""
    parser = actions.add_parser(
        "search",
        help="the clips nearest to a text, as a table and a picture",
        description="Embeds clips and texts, and shows for each text the clips of the largest cosine.",
        epilog='example:\n  ode-vgan clip search clip_tiny --text "an animal that flies" --out nearest.png',
        formatter_class=Plain,
    )
    parser.set_defaults(clip_run=run_search)
    parser.add_argument("subject", metavar="SUBJECT", help=SUBJECTS)
    parser.add_argument("--text", action="append", required=True, metavar="TEXT", help="what to look for; repeatable")
    parser.add_argument("--data", default="emoji", metavar="SOURCE", help="emoji, drawn, shapes or a folder (emoji)")
    parser.add_argument("--split", default="test", help="test, val, train or all (default test)")
    parser.add_argument("--top", type=at_least(1), default=4, metavar="K", help="clips for each text (default 4)")
    parser.add_argument("--frames", type=at_least(1), default=8, metavar="T", help="of a clip, evenly (default 8)")
    parser.add_argument("--shown", type=at_least(1), default=4, metavar="N", help="frames in the picture (default 4)")
    parser.add_argument("--size", type=at_least(1), metavar="PX", help="bring clips to a square of this side")
    parser.add_argument("--limit", type=at_least(1), metavar="N", help="clips looked at, at most")
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="where the picture goes (default: none)")
    parser.add_argument("--device", type=device, default="cpu", help="cpu or cuda (default cpu)")


def run_export(args: argparse.Namespace) -> None:
    """Write the folder, read it back, and say how far the two models are apart."""
    from ode_vgan.embed.subject import open_subject

    model = open_subject(args.subject).model
    if model is None:
        raise UserError(
            f"{args.subject} is no CLIP model of this project to export. Give a run of +experiment=clip_tiny."
        )
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise UserError(f"{args.out} exists and is not empty. Choose another --out, or remove it.")
    far = written_and_read(model, args.out, args.hub)
    if not far < SAME:
        raise UserError(f"{args.out} gives other embeddings than {args.subject}: by up to {far:.2g}. Report this.")
    print(f"{args.out}: read back, embeddings differ by {far:.1g} at most")
    print(f"open_clip.create_model_and_transforms('local-dir:{args.out}')")


def written_and_read(model: "ClipModel", folder: Path, hub: bool) -> float:
    """Export, load again, and return the largest difference of any number of a clip's or a text's row."""
    import torch

    from ode_vgan.embed.export import export, load_exported

    export(model, folder, hub=hub)
    again = load_exported(folder)
    side = model.image_size
    frames = torch.randint(0, 256, (1, 3, side, side, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    times = torch.linspace(0, 1, 3)[None]
    with torch.no_grad():
        clips = [one.encode_clips(frames, times) for one in (model, again)]
        texts = [one.encode_text(one.tokenize(["a clip"])) for one in (model, again)]
    return max(float((a - b).abs().max()) for a, b in (clips, texts))


def run_search(args: argparse.Namespace) -> None:
    """Embed the texts and the clips, print what is nearest, draw it."""
    from tqdm import tqdm

    from ode_vgan.embed.captioned import read_split
    from ode_vgan.embed.neighbours import nearest
    from ode_vgan.embed.subject import open_subject
    from ode_vgan.report.table import Row, results_table

    if args.out is not None and args.out.suffix.lower() != ".png":
        raise UserError(f"--out {args.out} is no .png; name a picture such as nearest.png.")
    told = {"disable": None, "leave": False}
    subject = open_subject(args.subject, device=args.device)
    clips = read_split(
        args.data, args.split, frames=args.frames, size=args.size, limit=args.limit,
        bar=lambda parts: tqdm(parts, desc="read", unit="clip", **told),
    )  # fmt: skip
    rows = subject.rows(clips.frames, lambda parts: tqdm(parts, desc="embed", unit="batch", **told))
    found = nearest(subject.encode_text(args.text), subject.pool(rows, clips.times), args.top)
    lines = []
    for text, numbers, cosines in zip(args.text, found.index.tolist(), found.cosine.tolist(), strict=True):
        for place, (i, cosine) in enumerate(zip(numbers, cosines, strict=True), 1):
            cells = {"text": text, "nearest": place, "clip": clips.captions[i], "cosine": cosine, "key": clips.keys[i]}
            lines.append(Row(cells))
    print(f"{len(clips)} clips of {args.data}, {args.split} split, by {subject.fingerprint}\n\n{results_table(lines)}")
    if args.out is not None:
        draw(args, clips, found, subject.name)
        print(args.out)


def draw(args: argparse.Namespace, clips, found, name: str) -> None:
    """The picture."""
    from ode_vgan.report.nearest import Found, nearest_png

    shown = [
        [Found(clips.frames[i].numpy(), clips.captions[i], cosine) for i, cosine in zip(numbers, cosines, strict=True)]
        for numbers, cosines in zip(found.index.tolist(), found.cosine.tolist(), strict=True)
    ]
    note = f"{name}: nearest of {len(clips)} clips ({args.data}, {args.split} split), with cosines"
    nearest_png(args.out, args.text, shown, frames=args.shown, note=note)

"""ode-vgan export RUN --out DIR: a folder to give away: weights as numbers, card, samples, plain sampler."""

import argparse
from pathlib import Path

from ode_vgan.cli.laion_engine import Plain
from ode_vgan.errors import UserError

SAMPLERS = ("none", "onnx", "torchscript")


def add_parser(subparsers) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "export",
        formatter_class=Plain,
        epilog="examples:\n  ode-vgan export runs/quickstart/ode-seed0 --out shared/emoji-ode\n"
        "  ode-vgan export runs/quickstart/ode-seed0 --out shared/emoji-ode-onnx --sampler onnx\n"
        '  ode-vgan sample shared/emoji-ode --text "a rocket"',
        help="write a trained run as a folder to give away",
        description="Writes the averaged generator as safetensors, its config, a model card with what the run scored, "
        "sample clips and pinned requirements. Every verb that takes a RUN also takes the folder, and so does "
        "ode_vgan.load; both read numbers and plain text from it and never run code.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder or checkpoint file")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make; must be new or empty")
    parser.add_argument("--critics", action="store_true", help="also the critics' weights, to go on training")
    parser.add_argument("--text", action="append", default=[], help="of a sample clip; may be repeated")
    parser.add_argument("--license", metavar="ID", help="of the weights, as hubs name it, such as cc-by-4.0")
    parser.add_argument(
        "--sampler",
        choices=SAMPLERS,
        default="none",
        help="also latents to frames as one file that runs without ode_vgan, checked equal (default none)",
    )
    parser.add_argument("--frames", type=int, help="of the sampler (default: as in training)")


def run(args: argparse.Namespace) -> int:
    """Export, print the folder's files."""
    from ode_vgan.share.export import export_run

    if args.frames is not None and args.sampler == "none":
        raise UserError("--frames is of a sampler; give --sampler onnx or torchscript too.")
    more = None
    if args.sampler != "none":
        from ode_vgan.share.sampler import sampler_writer

        more = sampler_writer(args.sampler, args.frames)
    export_run(args.run, args.out, critics=args.critics, licence=args.license, texts=args.text, more=more)
    print(*sorted(str(path) for path in args.out.rglob("*") if path.is_file()), sep="\n")
    return 0

"""ode-vgan studio RUN...: one page to play with trained runs."""

import argparse
from pathlib import Path

from ode_vgan.cli.device import device
from ode_vgan.cli.laion_engine import Plain, at_least


def add_parser(subparsers) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "studio",
        help="serve one page to play with trained runs: words, latents, time",
        description="Type a prompt, scrub and stretch time, walk between prompts and latents, put models of time side "
        "by side from the same latent. Listens on loopback unless --host says otherwise; Ctrl-C ends it.",
        epilog="example:\n  ode-vgan studio runs/quickstart/ode-seed0 runs/quickstart/sde-seed0",
        formatter_class=Plain,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders or checkpoint files, 1 to 8")
    parser.add_argument("--host", default="127.0.0.1", help="another lets other machines use the models (127.0.0.1)")
    parser.add_argument("--port", type=at_least(0), default=8322, help="0 takes a free one (default 8322)")
    parser.add_argument("--device", type=device, default="cpu", help="cpu or cuda (default cpu)")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    from ode_vgan.web.studio import serve

    serve(args.runs, host=args.host, port=args.port, device=args.device)
    return 0

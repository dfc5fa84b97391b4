"""ode-vgan VERB: one file of this folder a verb, imported only when its verb is typed."""

import argparse
import difflib
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module

from ode_vgan.errors import UserError

VERBS = {
    "data": "build, describe and check sets of clips",
    "laion": "from LAION's metadata to clips: select, fetch, score, index, explore",
    "clip": "judge, export and search with embedders of texts and clips",
    "weights": "list and fetch the weights that metrics need",
    "sample": "make clips from words with a trained run",
    "evaluate": "score runs or folders of videos against real clips",
    "continuous": "measure a run at times it was not trained on",
    "compare": "judge the runs of a sweep and report how its families differ",
    "scale": "how errors fall with compute: collect runs, fit laws, predict, plot, compare",
    "export": "write a trained run as a folder to give away",
    "studio": "serve one page to play with trained runs: words, latents, time",
    "bench": "time every part beside a named alternative, and how time and memory grow",
}


class OneLineParser(argparse.ArgumentParser):
    """A parser whose complaint is one line, without the usage above it."""

    def error(self, message: str) -> None:
        raise UserError(f"{message}. See {self.prog} --help.")


def build_parser(verbs: Iterable[str] = tuple(VERBS)) -> argparse.ArgumentParser:
    """A parser that knows the given verbs, whose files it imports."""
    parser = OneLineParser(prog="ode-vgan", description="Text-conditioned video GANs in continuous time.")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in verbs:
        import_module(f"ode_vgan.cli.{verb}").add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; returns 0, 2 after a user's error, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(arguments)
    except (UserError, OSError) as error:
        print(f"ode-vgan: error: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ode-vgan: interrupted", file=sys.stderr)
        return 130


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        from ode_vgan import __version__

        print(f"ode-vgan {__version__}")
        return 0
    verb = arguments[0]
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(VERBS)}."
        raise UserError(f"no verb {verb!r}; {hint}")
    arguments = build_parser([verb]).parse_args(arguments)
    return import_module(f"ode_vgan.cli.{verb}").run(arguments) or 0


def _overview() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {text}" for verb, text in VERBS.items()]
    about = "Text-conditioned video GANs in continuous time. Train with: python train.py +experiment=quickstart"
    return f"usage: ode-vgan VERB ...\n\n{about}\n\n" + "\n".join(lines) + "\n\node-vgan VERB --help says more."


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())

"""What the verbs of `ode-vgan laion` share: where their work is done, bars, and values written as NAME=VALUE."""

import argparse
from collections.abc import Callable, Iterable
from functools import partial

from ode_vgan.errors import UserError


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Flags that say where the shards are worked on."""
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="processes, or Ray ($RAY_ADDRESS) (default local)"
    )
    parser.add_argument("--jobs", type=at_least(1), default=1, metavar="N", help="workers of one CPU each (default 1)")


def add_action(actions, name: str, run: Callable, says: str, example: str, *more: str) -> argparse.ArgumentParser:
    """A parser of one verb, with an example below its options."""
    parser = actions.add_parser(
        name,
        help=says,
        description=" ".join((f"{says[0].upper()}{says[1:]}.", *more)),
        epilog=f"example:\n  {example}",
        formatter_class=Plain,
    )
    parser.set_defaults(laion_run=run)
    return parser


class Plain(argparse.HelpFormatter):
    """Fills a text of one line, and leaves one of several, as an example below the options, as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return "\n".join(indent + line for line in text.splitlines())
        return super()._fill_text(text, width, indent)


def at_least(least: int) -> Callable[[str], int]:
    """A parser of whole numbers from the least on."""

    def whole(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} must be at least {least}")
        return int(text)

    whole.__name__ = "whole number"
    return whole


def named_values(pairs: Iterable[str], flag: str) -> dict[str, object]:
    """NAME=VALUE pairs as a dict; values are read as yaml: numbers, null, texts, lists.

    Raises:
        UserError: a pair without "=", a name given twice, or a value that is no yaml.
    """
    import yaml

    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or name in found:
            raise UserError(f"{flag} {pair!r} must be NAME=VALUE, each name once, such as {flag} similarity=0.3.")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"{flag} {pair!r} has no value that reads as yaml. Quote it.") from error
    return found


def bar(total: int, unit: str, says: str) -> Callable[[Iterable], Iterable]:
    """A bar around what comes, on a terminal."""
    from tqdm import tqdm

    return partial(tqdm, total=total, unit=unit, desc=says, disable=None)


def count(number: int, noun: str) -> str:
    """Such as "1 shard" and "1,200 shards"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

"""ode-vgan laion VERB: from LAION's metadata to clips, scores, subsets and a page to explore them."""

import argparse

from ode_vgan.cli.laion_engine import Plain
from ode_vgan.cli.laion_explore import add_explore, add_index
from ode_vgan.cli.laion_fetch import add_fetch
from ode_vgan.cli.laion_score import add_calibrate, add_embed, add_score
from ode_vgan.cli.laion_select import add_select, add_subset

FLOW = """from metadata to a trained model:
  ode-vgan laion select laion/*.parquet --out clips.parquet
  ode-vgan laion fetch clips.parquet DIR
  ode-vgan laion score DIR
  ode-vgan laion index DIR
  ode-vgan laion explore DIR
  ode-vgan laion subset DIR NAME --where 'motion > 20 AND dup_of IS NULL'
  python train.py +experiment=laion data.source=DIR/shards data.subset=NAME"""


def add_parser(subparsers) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "laion",
        help="from LAION's metadata to clips: select, fetch, score, index, explore",
        description="Web-scale metadata to clips: each verb reads and writes the files of its neighbours.",
        epilog=FLOW,
        formatter_class=Plain,
    )
    actions = parser.add_subparsers(dest="action", metavar="VERB", required=True)
    for add in (add_select, add_fetch, add_embed, add_score, add_index, add_subset, add_explore, add_calibrate):
        add(actions)


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    args.laion_run(args)
    return 0

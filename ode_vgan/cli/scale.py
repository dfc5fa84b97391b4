"""ode-vgan scale VERB: from trained runs to power laws: collect, fit, predict, plot, compare, report."""

import argparse

from ode_vgan.cli.laion_engine import Plain
from ode_vgan.cli.scale_fit import add_compare, add_fit, add_predict
from ode_vgan.cli.scale_report import add_collect, add_plot, add_report

FLOW = """from a sweep to its report:
  python train.py -m +experiment=scale_clip
  ode-vgan scale report runs/scale_clip --out report
or a law from any table of results:
  ode-vgan scale fit zeroshot_results.csv --x gmacs_total --y acc1 --one-minus \\
    --where "downstream_dataset = 'imagenet1k' AND upstream_dataset <> 'CLIP-WIT'" --json fit.json
  ode-vgan scale predict fit.json --compute 6.5342e12"""


def add_parser(subparsers) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "scale",
        help="how errors fall with compute: collect runs, fit laws, predict, plot, compare",
        description="Power laws of error against compute, with intervals over runs and seeds.",
        epilog=FLOW,
        formatter_class=Plain,
    )
    actions = parser.add_subparsers(dest="action", metavar="VERB", required=True)
    for add in (add_collect, add_fit, add_predict, add_plot, add_compare, add_report):
        add(actions)


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    args.scale_run(args)
    return 0

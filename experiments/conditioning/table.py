"""Do generated clips fit their own captions better than those of others?

    python experiments/conditioning/table.py results.csv

Reads what `ode-vgan compare` wrote and prints a Markdown table: a row a split, a judge and a family. Values are means
over seeds ± their deviation; the interval is Student's over seeds; "above 0" counts the runs whose own interval, over
captions, lies above 0.
"""

import csv
import statistics
import sys
from collections import defaultdict

from scipy.special import stdtrit

LEVEL = 0.90
PARTS = ("clipsim", "shuffled", "above_shuffled")
HEAD = ("captions", "judge", "family", "own", "shuffled", "own above shuffled", "90 % over seeds", "above 0", "real")


def read(path: str) -> dict[tuple[str, str, str, str], list[dict]]:
    """Rows by (split, protocol, part, family), one a seed."""
    found = defaultdict(list)
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            key, _, part = row["score"].partition("/")
            if key.startswith("clipsim"):
                found[row["split"], key, part or "clipsim", row["family"]].append(row)
    return found


def told(values: list[float]) -> str:
    """Mean ± deviation."""
    return f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def interval(values: list[float]) -> str:
    """Student's interval of the mean over seeds."""
    if len(values) < 2:
        return "-"
    reach = stdtrit(len(values) - 1, (1 + LEVEL) / 2) * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.fmean(values) - reach:.2f} to {statistics.fmean(values) + reach:.2f}"


def main(path: str) -> None:
    """Print the table."""
    found = read(path)
    print(f"| {' | '.join(HEAD)} |")
    print("|---" * len(HEAD) + "|")
    for split, key, family in sorted({(split, key, family) for split, key, _, family in found}):
        rows = {part: found[split, key, part, family] for part in PARTS}
        values = [[float(row["value"]) for row in rows[part]] for part in PARTS]
        above = rows["above_shuffled"]
        clear = sum(float(row["low"]) > 0 for row in above)
        cells = [split, key.partition("_16f_")[2], family, *map(told, values), interval(values[-1])]
        print(f"| {' | '.join(cells)} | {clear} of {len(above)} | {float(above[0]['real']):.2f} |")


if __name__ == "__main__":
    main(sys.argv[1])

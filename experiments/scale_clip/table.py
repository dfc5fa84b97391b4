"""One row a run: python experiments/scale_clip/table.py runs/scale_clip/ledger writes results.csv beside this file."""

import csv
import sys
from pathlib import Path

from ode_vgan.scaling.ledger import read

FACTS = ("distribution", "model", "clips_data", "seed", "macs", "parameters", "cpu_seconds", "commit")


def main(ledger: str) -> None:
    """Write results.csv beside this file and print the mean errors by model and number of clips."""
    runs: dict[tuple, dict] = {}
    for row in read(ledger).to_pylist():
        if row["finished"] and row["split"] == "test":
            key = tuple(row[name] for name in ("distribution", "clips_data", "macs", "seed"))
            runs.setdefault(key, {name: row[name] for name in FACTS})[row["metric"]] = round(row["value"], 4)
    rows = [runs[key] for key in sorted(runs)]
    with open(Path(__file__).with_name("results.csv"), "w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for metric in ("R@1", "R@5", "zero_shot"):
        print(f"\n1 - {metric}")
        for where in sorted({(row["distribution"], row["model"]) for row in rows}):
            print("|", *where, end=" ")
            for clips in sorted({row["clips_data"] for row in rows}):
                own = [row for row in rows if (row["distribution"], row["model"], row["clips_data"]) == (*where, clips)]
                errors = [1 - row[metric] for row in own]
                spread = f"{sum(errors) / len(errors):.3f} ± {(max(errors) - min(errors)) / 2:.3f}" if errors else ""
                print("|", spread, end=" ")
            print("|")


if __name__ == "__main__":
    main(sys.argv[1])

"""Scores of one sweep as a table: python experiments/quickstart/table.py train.json test.json."""

import csv
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
SHOWN = ("split", "subject", "name", "value", "sd", "debiased", "low", "high", "real", "real_sd")


def rows(path: str) -> list[dict]:
    """One row a result of an evaluation."""
    found = []
    for one in json.loads(Path(path).read_text())["results"]:
        protocol = one.pop("protocol")
        numbers = {key: round(value, 3) if isinstance(value, float) else value for key, value in one.items()}
        found.append({"split": protocol["split"], **numbers} | {f"protocol_{key}": protocol[key] for key in protocol})
    return found


def main() -> None:
    """Write results.csv and print a Markdown table of its main columns."""
    table = [row for path in sys.argv[1:] for row in rows(path)]
    with open(HERE / "results.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, table[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    print("| " + " | ".join(SHOWN) + " |\n|" + "---|" * len(SHOWN))
    for row in table:
        print("| " + " | ".join("" if row[key] is None else str(row[key]) for key in SHOWN) + " |")


if __name__ == "__main__":
    main()

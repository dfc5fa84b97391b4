"""Collect the scores of one sweep's runs: python experiments/quickstart/table.py runs/temporal32."""

import csv
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent


def rows(sweep: Path) -> list[dict]:
    """One row a run and split, in the order of the folders."""
    found = []
    for path in sorted(sweep.glob("*/evaluation.json")):
        evaluation, metrics = (json.loads((path.parent / name).read_text()) for name in (path.name, "metrics.json"))
        for split, scores in evaluation["splits"].items():
            trained, untrained = (scores[name]["fd_hog3d"] for name in ("generator", "untrained"))
            colour = scores["generator"]["fd_colour"]
            found.append(
                {
                    "run": path.parent.name,
                    "split": split,
                    "clips_seen": evaluation["clips_seen"],
                    "seconds": round(metrics["seconds"]),
                    "fd_hog3d": round(trained["value"], 1),
                    "sd": round(trained["sd"], 1),
                    "untrained": round(untrained["value"], 1),
                    "frozen": round(trained["controls"]["frozen"], 1),
                    "shuffled": round(trained["controls"]["shuffled"], 1),
                    "floor": round(trained["floor"], 1),
                    "fd_colour": round(colour["value"], 2),
                    "fd_colour_floor": round(colour["floor"], 2),
                    "nfe": metrics["nfe"],
                    "temporal_parameters": metrics["parameters"]["temporal"],
                    **{f"protocol_{key}": value for key, value in trained["protocol"].items()},
                }
            )
    return found


def main() -> None:
    """Write results.csv and print a Markdown table of its main columns."""
    table = rows(Path(sys.argv[1]))
    with open(HERE / "results.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, table[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    shown = [key for key in table[0] if not key.startswith("protocol_")]
    print("| " + " | ".join(shown) + " |\n|" + "---|" * len(shown))
    for row in table:
        print("| " + " | ".join(str(row[key]) for key in shown) + " |")


if __name__ == "__main__":
    main()

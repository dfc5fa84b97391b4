"""Tables of runs side by side: python experiments/metrics/continuous_tables.py runs/temporal32/*/continuous.json."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

from ode_vgan.cli.continuous import QUESTIONS, TITLES, cells
from ode_vgan.report.table import Row, results_table


def main() -> None:
    """Print one table a question, one row a run and setting."""
    contents = [json.loads(Path(path).read_text()) for path in sys.argv[1:]]
    for question in QUESTIONS:
        answers = [
            (content["temporal"].removesuffix("Path").lower(), SimpleNamespace(**answer))
            for content in contents
            for answer in content["answers"]
            if answer["question"] == question
        ]
        shown = [cells(answer, [other for _, other in answers]) for _, answer in answers]
        rows = [
            Row({"temporal": model} | row, answer.protocol) for (model, answer), row in zip(answers, shown, strict=True)
        ]
        if rows:
            print(f"### {TITLES[question]}\n\n{results_table(rows)}")


if __name__ == "__main__":
    main()

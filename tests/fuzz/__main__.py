"""python -m tests.fuzz --inputs 100000 [--targets clips,parquet] [--seed 0] [--json FILE]: counts, and findings."""

import argparse
import json
import tempfile
import time
from pathlib import Path

from tests.fuzz.watch import as_dict, run

SHARES = {  # of all inputs
    "clips": 0.30, "requests": 0.25, "parquet": 0.15, "configs": 0.15, "tars": 0.08, "captions": 0.03,
    "checkpoints": 0.03, "commands": 0.01,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--targets", default=",".join(SHARES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    names = args.targets.split(",")
    whole, found = sum(SHARES[name] for name in names), {}
    for name in names:
        begin, count = time.monotonic(), round(args.inputs * SHARES[name] / whole)
        with tempfile.TemporaryDirectory() as folder:
            counts = run(name, args.seed, count, Path(folder))
        found[name] = as_dict(counts) | {"seconds": round(time.monotonic() - begin, 1)}
        print(f"{name}: {counts.inputs:,} inputs, {counts.read:,} read, {counts.refused:,} refused, "
              f"{len(counts.findings)} findings, {found[name]['seconds']:.0f} s", flush=True)  # fmt: skip
        for finding in counts.findings[:40]:
            print("  ", finding, flush=True)
    if args.json:
        args.json.write_text(json.dumps({"seed": args.seed, "targets": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""From a parquet in LAION's schema to a model that trains, by the command line, with what each verb did and cost.

    nice -n 5 env OMP_NUM_THREADS=1 python experiments/laion/end_to_end.py --clips 300 --jobs 2 \\
        --out experiments/laion/end_to_end.md

A server on loopback serves so many embedded clips, as GIF, WebP, MP4, WebM and AVI in turn, and one url of every fault.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ode_vgan.provenance import started  # noqa: E402
from tests.faulty_server import faulty_server  # noqa: E402
from tests.test_laion_end_to_end import write_laion  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
POLITE = "--read-seconds 10 --total-seconds 12 --backoff 0.02 --max-wait 0.1 --max-mb 2 --threads 12 --per-host 12"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--train", type=int, default=64, help="clips to train on; a batch is 8")
    parser.add_argument("--out", type=Path, help="a markdown file; without it the page is only printed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, faulty_server(good=args.clips) as server:
        write_laion(Path(work), server.rows)
        page = report(args, [(words, *typed(words, Path(work))) for words in commands(args, server)])
    print(page)
    if args.out:
        args.out.write_text(page)


def commands(args: argparse.Namespace, server) -> list[list[str]]:
    """What is typed, in order."""
    jobs = ["--jobs", str(args.jobs)]
    where = ["--where", "motion > {threshold.motion} AND dup_of IS NULL", "--threshold", "motion=20"]
    verbs = [
        ["select", "laion", "--out", "clips.parquet", "--join", "pwatermark=tags.parquet"],
        ["fetch", "clips.parquet", "DIR", "--size", "64", "--per-shard", "100"]
        + ["--allow", *server.allow, *POLITE.split(), *jobs],
        ["score", "DIR", *jobs],
        ["index", "DIR"],
        ["subset", "DIR", "moving", *where],
    ]
    train = ["+experiment=laion", "data.source=DIR/shards", "data.subset=moving", f"max_clips={args.train}"]
    train += ["samples.every_clips=1000000", "metrics=none", "compare=none"]
    return [["ode-vgan", "laion", *verb] for verb in verbs] + [["python", "train.py", *train]]


def typed(words: list[str], work: Path) -> tuple[float, float, str]:
    """Wall and CPU seconds of a command and its children, and what it printed.

    Raises:
        SystemExit: it failed.
    """
    program = ["-m", "ode_vgan.cli.main", *words[1:]] if words[0] == "ode-vgan" else [str(ROOT / words[1]), *words[2:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *program], cwd=work, capture_output=True, text=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stderr[-3000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begun, cpu, done.stdout.strip()


def report(args: argparse.Namespace, done: list[tuple[list[str], float, float, str]]) -> str:
    """The page."""
    command = f"python experiments/laion/end_to_end.py --clips {args.clips} --jobs {args.jobs} --train {args.train}"
    lines = [
        "# From a parquet to a model that trains",
        "",
        f"`{command}` at commit `{started([])['commit']}`: {args.clips} embedded clips served from loopback in five "
        "formats, and every fault. One run, two shared CPU cores; CPU seconds are those of the verb and its workers, "
        f"whose start (Python, torch) is about 4 of them; load average {os.getloadavg()[0]:.0f}.",
    ]
    for words, wall, cpu, told in done:
        shown = " ".join(f"'{word}'" if " " in word else word for word in words)
        lines += ["", "```text", f"$ {shown}", *told.splitlines(), f"({wall:.0f} s, {cpu:.1f} s of CPU)", "```"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

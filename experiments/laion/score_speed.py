"""CPU time of a clip: embedding (eight frames and the caption) and scoring (watermark, motion, hash, caption).

    nice -n 5 env OMP_NUM_THREADS=1 python experiments/laion/score_speed.py --clips 24

One thread. A first shard of two clips loads the networks and does not count.
"""

import argparse
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ode_vgan.data.emoji import embedded_folder  # noqa: E402
from ode_vgan.data.shards import Sample, read_index, write_shard  # noqa: E402
from ode_vgan.embed.matched import open_embedder  # noqa: E402
from ode_vgan.laion.embeddings import embed_shard  # noqa: E402
from ode_vgan.laion.engine import one_thread  # noqa: E402
from ode_vgan.laion.score import ScoreOptions, score_shard  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=24)
    count = parser.parse_args().clips
    one_thread()
    entries = read_index(embedded_folder())
    chosen = list(islice(entries[:: max(1, len(entries) // (count + 2))], count + 2))
    samples = [Sample(f"{i:09d}", entry.read(), entry.caption or "", {}) for i, entry in enumerate(chosen)]
    frames = sum(entry.meta["num_frames"] for entry in chosen[2:]) / count
    embedder, spent = open_embedder("matched"), {"embed": [], "score": []}
    with tempfile.TemporaryDirectory() as work:
        for number, part in enumerate((samples[:2], samples[2:])):
            tar = write_shard(Path(work) / "shards", f"{number:05d}", part)
            for name, stage in (
                ("embed", lambda tar: embed_shard(tar, embedder)),
                ("score", lambda tar: score_shard(tar, ScoreOptions())),
            ):
                begun = time.process_time()
                stage(tar)
                spent[name].append(1000 * (time.process_time() - begun) / len(part))
        size = (Path(work) / "scores" / "00001.parquet").stat().st_size / count
    told = ", ".join(f"{name} {values[1]:.1f} CPU ms a clip" for name, values in spent.items())
    print(f"{count} clips of 64 px and {frames:.0f} frames: {told}; {size:.0f} bytes of scores a clip")


if __name__ == "__main__":
    main()

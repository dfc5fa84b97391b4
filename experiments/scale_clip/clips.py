"""The picture of the README: the first drawn clips of both training sets, with what their captions say."""

from pathlib import Path

import numpy as np

from ode_vgan.data.drawn import World, draw_clips
from ode_vgan.data.drawn_captions import Curated, Web
from ode_vgan.report.video import grid_png

CLIPS = np.arange(8)


def main() -> None:
    """Write clips.png beside this file."""
    web = Web(zipf=1.0, said=[0.7, 0.8, 0.6, 0.4], astray=0.15, filler=0.4)  # as conf/data/drawn_web.yaml
    times, frames, captions = np.linspace(0, 1, 4), [], []
    for words in (Curated(), web):
        world = World(0, zipf=words.zipf)
        frames.append(draw_clips(world, CLIPS, times, 32))
        captions += [f"{words.name}: {caption}" for caption in words.captions(world, CLIPS)]
    grid_png(Path(__file__).with_name("clips.png"), np.concatenate(frames), captions, times)


if __name__ == "__main__":
    main()

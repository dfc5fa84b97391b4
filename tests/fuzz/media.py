"""Videos and tars as targets."""

import io
from pathlib import Path

import numpy as np

from tests.fuzz.mutate import mutated


class Clips:
    """Videos: decoded whole, and the frames of a window alone."""

    def __init__(self, folder: Path):
        from ode_vgan.data.clips import encode_clip

        draw = np.random.default_rng(0)
        frames = draw.integers(256, size=(9, 24, 32, 3), dtype=np.uint8).repeat(2, 1)
        times = np.arange(9) / 12
        self.seeds = [bytes(encode_clip(None, frames, times))]
        self.seeds += [film(frames, *kind) for kind in (
            ("avi", "mpeg4"), ("matroska", "libx264"), ("webm", "libvpx-vp9"), ("mov", "libx264"), ("mp4", "mpeg4"),
        )]  # fmt: skip
        self.seeds += [animated(frames, kind) for kind in ("GIF", "WEBP")]

    def one(self, draw: np.random.Generator) -> None:
        from ode_vgan.data.clips import decode_clip
        from ode_vgan.data.excerpt import open_excerpt

        content = mutated(self.seeds, draw)
        if draw.random() < 0.5:
            clip = decode_clip(content, size=16, max_frames=24)
            frames, times = clip.frames, clip.times
        elif (found := open_excerpt(content, size=16, max_frames=24)) is not None:
            times = found.times
            frames = found.take([int(i) for i in draw.integers(len(times), size=4)])
        else:
            return
        assert frames.dtype == np.uint8 and frames.shape[1:] == (16, 16, 3) and len(frames), "frames of another kind"
        assert np.isfinite(times).all() and (np.diff(times) > 0).all() and times[0] == 0, "times that do not rise"


class Tars:
    """Shards: tars of clips, captions and rows."""

    def __init__(self, folder: Path):
        from ode_vgan.data.shards import Sample, write_shard

        samples = [Sample(f"{i:05d}", b"\0" * (100 + i), f"caption {i}", {"split": "train"}) for i in range(4)]
        self.path = write_shard(folder / "shards", "00000", samples)
        self.seeds = [self.path.read_bytes()]

    def one(self, draw: np.random.Generator) -> None:
        from ode_vgan.data.shards import read_index

        self.path.write_bytes(mutated(self.seeds, draw))
        for entry in read_index(self.path.parent):
            assert entry.caption is None or isinstance(entry.caption, str), "a caption that is no text"
            entry.read()


def film(frames: np.ndarray, kind: str, codec: str) -> bytes:
    """A video of one container and codec."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as out:
        stream = out.add_stream(codec, rate=12, width=frames.shape[2], height=frames.shape[1], pix_fmt="yuv420p")
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())
    return buffer.getvalue()


def animated(frames: np.ndarray, kind: str) -> bytes:
    """An animated picture."""
    from PIL import Image

    first, *others = (Image.fromarray(frame) for frame in frames)
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=others, duration=80)
    return buffer.getvalue()

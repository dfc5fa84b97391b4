"""A trained CLIP for clips as a folder that OpenCLIP itself loads, with the clip pooling beside it."""

import json
from pathlib import Path

from safetensors.torch import save

from ode_vgan.data.clips import write_atomic
from ode_vgan.embed.clip_model import ClipModel
from ode_vgan.embed.saved import KIND, POOLED, POOLING, TOWERS, Saved, read_saved
from ode_vgan.embed.towers import SIGLIP, model_config
from ode_vgan.errors import UserError

CONFIG = "open_clip_config.json"


def export(clip: ClipModel, folder: str | Path, *, hub: bool = False) -> None:
    """Write OpenCLIP's `local-dir` format: both towers whole, how pictures and texts are read, and ours beside it.

    `open_clip.create_model_and_transforms("local-dir:FOLDER")` gives the frames' and texts' embeddings of `clip`; its
    clips' also need the pooling, which `load_exported` adds. A text tower of transformers is built by OpenCLIP from a
    config that it looks up by folder or by the hub's name, never beside the weights:

    - hub=False names this very folder, which has that config: nothing is fetched, but a moved folder is to be exported
      again (`ode-vgan clip export MOVED --out NEW`).
    - hub=True keeps the hub's name: the folder may be moved or uploaded, and OpenCLIP fetches a file of some 600 bytes
      where it is loaded first.

    Towers of OpenCLIP's own kinds need neither.

    Args:
        folder: made if need be; files of the same names are replaced.

    Raises:
        UserError: the folder cannot be written, or the pooling cannot be described.
    """
    folder, config, described = Path(folder), model_config(clip.name), clip.described()
    if clip.logit_bias is not None:
        config |= SIGLIP
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if "hf_model_name" in config["text_cfg"]:
            clip.towers.text.config.save_pretrained(folder)
            if not hub:
                config["text_cfg"]["hf_model_name"] = str(folder.resolve())
        if hasattr(clip.tokens, "save_pretrained"):
            clip.tokens.save_pretrained(folder)
        content = {"model_cfg": config, "preprocess_cfg": clip.towers.visual.preprocess_cfg}
        for name, module in ((TOWERS, clip.towers), (POOLED, clip.pooling)):
            state = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in module.state_dict().items()}
            write_atomic(folder / name, save(state))
        for name, told in ((CONFIG, content), (POOLING, {"kind": KIND, "clip": described})):
            write_atomic(folder / name, (json.dumps(told, indent=2) + "\n").encode())
    except OSError as error:
        raise UserError(f"cannot write {folder} ({error.strerror or error}). Choose another folder.") from error


def load_exported(folder: str | Path) -> ClipModel:
    """The model of a folder that `export` wrote, in eval mode, frozen; it may have been moved.

    Raises:
        UserError: it is no such folder, or a file of it is missing or broken.
    """
    if not (Path(folder) / POOLING).is_file():
        raise UserError(f"{folder} has no {POOLING}. Name a folder that `ode-vgan clip export` wrote.")
    saved: Saved = read_saved(folder)
    return saved.build()

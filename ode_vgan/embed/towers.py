"""Image and text towers by name, as OpenCLIP builds them, filled with the weights that Python packages bring."""

import copy
import difflib
import json
import math
from functools import cache
from pathlib import Path

import torch
from torch import nn

from ode_vgan.embed.openclip import no_waiting_for_the_hub, open_clip
from ode_vgan.errors import UserError

FOLDER = Path(__file__).parent / "models"
LITE0, MINILM = "tf_efficientnet_lite0", "sentence-transformers/all-MiniLM-L6-v2"
SIGLIP = {"init_logit_scale": math.log(10), "init_logit_bias": -10.0}  # Zhai et al. (2023), section 3.2
GREYS = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}  # what EfficientNet-Lite was trained on


@cache
def names() -> tuple[str, ...]:
    """Models that can be built: OpenCLIP's, and those of this folder, which are registered with it."""
    open_clip().add_model_config(FOLDER)
    return tuple(open_clip().list_models())


def model_config(name: str) -> dict:
    """OpenCLIP's plain config of a model: embed_dim, vision_cfg, text_cfg.

    Raises:
        UserError: no such model.
    """
    if name not in names():
        ours = ", ".join(sorted(path.stem for path in FOLDER.glob("*.json")))
        close = ", ".join(difflib.get_close_matches(name, names(), n=3, cutoff=0.5))
        raise UserError(
            f"no CLIP model {name!r}; {f'close: {close}; ' if close else ''}there are {ours} and OpenCLIP's."
        )
    return copy.deepcopy(open_clip().get_model_config(name))


def embed_dim(name: str) -> int:
    """E of a model, read without loading OpenCLIP where it is one of ours.

    Raises:
        UserError: no such model.
    """
    path = FOLDER / f"{name}.json"
    return (json.loads(path.read_text()) if path.is_file() else model_config(name))["embed_dim"]


def packaged_sha256(side: str) -> str:
    """Hexadecimal sha256 of the file of weights that a package brings for a side, "image" or "text".

    Raises:
        UserError: the package is not installed, or its file is another.
    """
    from ode_vgan.embed.embedder import file_sha256
    from ode_vgan.embed.sentence import packaged_folder
    from ode_vgan.metrics.efficientnet import LITE0 as PACKAGED

    return file_sha256(PACKAGED.locate() if side == "image" else packaged_folder() / "model.safetensors")


def build_towers(name: str, *, weights: bool, bias: bool = False) -> nn.Module:
    """An OpenCLIP model, `encode_image` and `encode_text` of one space, drawn from torch's global seed.

    Args:
        weights: fill EfficientNet-Lite0 and MiniLM towers from their packages.
        bias: of the logits, as SigLIP has it, from its own first values.

    Raises:
        UserError: no such model, or a package with its weights is not installed.
    """
    config = model_config(name)
    text = config["text_cfg"]
    if text.get("hf_model_name") == MINILM:
        from ode_vgan.embed.sentence import packaged_folder

        text["hf_model_name"] = str(packaged_folder())  # its config, and its weights where they are asked for
        text["hf_tokenizer_name"] = str(packaged_folder())
    if bias:
        config |= SIGLIP
    model = _create(name, config)
    if weights:
        fill(model, config)
    set_preprocessing(model, config)
    return model


def _create(name: str, config: dict) -> nn.Module:
    kinds = open_clip().model
    text = config["text_cfg"]
    text["hf_model_pretrained"] = False
    kind = kinds.CustomTextCLIP if "hf_model_name" in text or config.pop("custom_text", False) else kinds.CLIP
    try:
        with no_waiting_for_the_hub():
            return kind(**config)
    except OSError as error:  # of transformers, where the hub has the tower's config
        raise UserError(f"cannot fetch a tower of {name} from the hub ({type(error).__name__}).") from error


def tokenizer(name: str, config: dict):
    """Texts (N strings) to tokens (N, L), as the text tower of a model reads them.

    Raises:
        UserError: it is the hub's, and that cannot be reached.
    """
    text = config["text_cfg"]
    if text.get("hf_tokenizer_name") == MINILM:
        from open_clip.tokenizer import HFTokenizer

        from ode_vgan.embed.sentence import packaged_folder

        return HFTokenizer(str(packaged_folder()), context_length=text["context_length"])
    try:
        with no_waiting_for_the_hub():
            return open_clip().get_tokenizer(name)
    except OSError as error:
        raise UserError(f"cannot fetch the tokenizer of {name} from the hub ({type(error).__name__}).") from error


def fill(model: nn.Module, config: dict) -> None:
    """Put the packages' weights into towers of EfficientNet-Lite0 and MiniLM; leave others as drawn.

    Raises:
        UserError: a package is not installed.
    """
    if config["vision_cfg"].get("timm_model_name") == LITE0:
        model.visual.trunk.load_state_dict(lite0_state(model.visual.trunk.state_dict()))
    if "hf_model_name" in config["text_cfg"] and Path(config["text_cfg"]["hf_model_name"]).is_dir():
        from safetensors.torch import load_file

        from ode_vgan.embed.sentence import packaged_folder

        state = load_file(packaged_folder() / "model.safetensors")
        own = model.text.transformer.state_dict()
        model.text.transformer.load_state_dict({key: state[key.removeprefix("bert.")] for key in own})


def lite0_state(own: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The package's EfficientNet-Lite0 weights under timm's names: both list the same layers in the same order.

    Args:
        own: state of timm's net, classifier left out or in.

    Raises:
        UserError: the package is not installed, or its file is another net's.
    """
    from ode_vgan.metrics.efficientnet import LITE0 as PACKAGED
    from ode_vgan.metrics.states import read_state

    path = PACKAGED.locate()
    theirs = list(read_state(path).items())
    if len(theirs) < len(own):
        raise UserError(f"{path} has {len(theirs)} tensors where timm's net has {len(own)}. Install the package again.")
    filled = {}
    for (name, tensor), (their_name, their_tensor) in zip(own.items(), theirs, strict=False):
        if tensor.shape != their_tensor.shape:
            raise UserError(f"{path}: {their_name} does not fit timm's {name}. Install the package again.")
        filled[name] = their_tensor
    return filled


def set_preprocessing(model: nn.Module, config: dict) -> None:
    """Note on the image tower how pictures are prepared for it, as OpenCLIP does."""
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    greys = GREYS if config["vision_cfg"].get("timm_model_name") == LITE0 else {}
    size = model.visual.image_size
    settings = merge_preprocess_dict(vars(PreprocessCfg()) | {"size": size}, greys)
    model.visual.preprocess_cfg = settings
    model.visual.image_mean, model.visual.image_std = settings["mean"], settings["std"]

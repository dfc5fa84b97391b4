"""The remedy for a torchvision whose compiled operators do not load, as beside a CPU-only torch."""

import importlib.util
from pathlib import Path

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# Its definitions live as long as the library object does.
_library: torch.library.Library | None = None


def _compiled_operators_load(folder: Path) -> bool:
    for extension in folder.glob("_C*"):
        try:
            torch.ops.load_library(str(extension))
        except OSError:
            continue
        return True
    return False


def define_torchvision_operators() -> bool:
    """Let `import torchvision` pass where its compiled operators cannot be loaded.

    torchvision registers shape functions for `nms` and `qnms` on import and fails if nothing has
    defined the two, and with it fails whatever imports it: Lightning through torchmetrics, OpenCLIP.
    Only the schemas are defined: calling either operator remains an error.

    Returns:
        True if the schemas stand in for the compiled operators; False if torchvision is absent or whole.
    """
    global _library
    if _library is not None:
        return True
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or _compiled_operators_load(Path(spec.origin).parent):
        return False
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        if not hasattr(torch.ops.torchvision, schema.partition("(")[0]):
            library.define(schema)
    _library = library
    return True

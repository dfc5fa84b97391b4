"""The remedy for a torchvision whose compiled operators do not load, as beside a CPU-only torch."""

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# Its definitions live as long as the library object, a torch.library.Library, does.
_library: object | None = None


class _BeforeTorchvision(MetaPathFinder):
    """Finds nothing; applies the remedy when torchvision is first looked for, so that nothing else pays for torch."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname == "torchvision":
            define_torchvision_operators()
        return None


def watch_for_torchvision() -> None:
    """From now on, the first `import torchvision` of this process finds its operators defined."""
    if "torchvision" not in sys.modules and not _watchers():
        sys.meta_path.insert(0, _BeforeTorchvision())


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
    for watcher in _watchers():  # it would answer the next line by calling this again
        sys.meta_path.remove(watcher)
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or _compiled_operators_load(Path(spec.origin).parent):
        return False
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        if not hasattr(torch.ops.torchvision, schema.partition("(")[0]):
            library.define(schema)
    _library = library
    return True


def _watchers() -> list[MetaPathFinder]:
    return [finder for finder in sys.meta_path if isinstance(finder, _BeforeTorchvision)]


def _compiled_operators_load(folder: Path) -> bool:
    import torch

    for extension in folder.glob("_C*"):
        try:
            torch.ops.load_library(str(extension))
        except OSError:
            continue
        return True
    return False

"""LAION's NSFW heads as published: zips of TensorFlow SavedModels by AutoKeras, read as data, without TensorFlow.

A model is input, categories, normalisation, then linear layers with ReLU between them and a sigmoid at the end.
AutoKeras took a few of the embedding's numbers for categories: such a number is written with six decimals and looked
up among the texts seen in training, and what goes on is its place there, from 1, or 0 for a text that was not seen.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ode_vgan.errors import UserError
from ode_vgan.laion.tensorbundle import STRING, fields, read_bundle

INDEX, DATA = "variables/variables.index", "variables/variables.data-00000-of-00001"
META, GRAPH = "keras_metadata.pb", "saved_model.pb"
MAX_MEMBERS, MAX_BYTES = 64, 1 << 25
INT64 = 9
EPSILON = 1e-7  # Keras's, below which a deviation does not fall
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
RELU = {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}


@dataclass(frozen=True)
class Network:
    """A head's numbers.

    Attributes:
        categories: for each of these columns, the place of each text.
        mean, deviation: (E,) of what enters the layers.
        layers: weight (in, out) and bias (out,) of each linear layer.
    """

    categories: dict[int, dict[str, int]]
    mean: np.ndarray
    deviation: np.ndarray
    layers: list[tuple[np.ndarray, np.ndarray]]

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, E) float32 to (N,) float32 in [0, 1]."""
        x = embeddings.astype(np.float32)
        for column, places in self.categories.items():
            x[:, column] = [places.get(f"{value:f}", 0) for value in embeddings[:, column].astype(np.float32).tolist()]
        x = (x - self.mean) / self.deviation
        for weight, bias in self.layers[:-1]:
            x = np.maximum(x @ weight + bias, 0)
        weight, bias = self.layers[-1]
        logits = (x @ weight + bias)[:, 0].astype(np.float64)
        return (0.5 * (1 + np.tanh(logits / 2))).astype(np.float32)  # the sigmoid, without overflow


def read_saved_model(path: str | Path) -> Network:
    """The network of a zip; nothing is extracted to disk, and nothing in it is run.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is no whole zip of such a model, or a member's name leaves it.
    """
    members = _members(Path(path))
    tensors = read_bundle(members[INDEX], members[DATA], f"{path}: {INDEX}")
    try:
        encoding, units = _architecture(members[META])
        mean, variance, layers = _numbered(tensors)
        columns = [i for i, kind in enumerate(encoding) if kind == "int"]
        tables = _tables(members[GRAPH]) if columns else []
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, StopIteration) as error:
        raise UserError(f"{path} is no NSFW head by AutoKeras ({_line(error)}). Take LAION's own zip.") from None
    widths = [mean.size, *(weight.shape[1] for weight, _ in layers)]
    agreed = [weight.shape[0] for weight, _ in layers] == widths[:-1] and widths[1:] == units and units[-1:] == [1]
    if not agreed or len(tables) != len(columns) or len(encoding) != mean.size:
        told = f"layers {widths}, said to be {len(encoding)} to {units}, {len(tables)} tables for columns {columns}"
        raise UserError(f"{path} is not of one piece: {told}. Take LAION's own zip.")
    deviation = np.maximum(np.sqrt(variance), np.float32(EPSILON))
    return Network(dict(zip(columns, tables, strict=True)), mean, deviation, layers)


def _members(path: Path) -> dict[str, bytes]:
    """The four files of the model, wherever their one folder is in the zip."""
    if not path.is_file():
        raise FileNotFoundError(f"no head at {path}. Check the path.")
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
            outside = [name for name in names if PurePosixPath(name).is_absolute() or {"..", "\\"} & _parts(name)]
            if outside or len(names) > MAX_MEMBERS:
                told = f"{outside[0]!r} leaves it" if outside else f"{len(names)} members, at most {MAX_MEMBERS}"
                raise UserError(f"{path} is refused: {told}. Take LAION's own zip.")
            roots = [name.removesuffix(INDEX) for name in names if name.endswith(INDEX)]
            if len(roots) != 1 or any(f"{roots[0]}{name}" not in names for name in (DATA, META, GRAPH)):
                raise UserError(f"{path} holds no SavedModel by AutoKeras ({INDEX} ... {META}). Take LAION's own zip.")
            return {name: _read(file, f"{roots[0]}{name}", path) for name in (INDEX, DATA, META, GRAPH)}
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:  # RuntimeError: encrypted
        raise UserError(f"{path} is no whole zip ({_line(error)}). Fetch it again.") from None


def _parts(name: str) -> set[str]:
    return {*PurePosixPath(name).parts, *("\\" for sign in name if sign == "\\")}


def _read(file: zipfile.ZipFile, name: str, path: Path) -> bytes:
    size = file.getinfo(name).file_size  # no more than this is ever unpacked
    if size > MAX_BYTES:
        raise UserError(f"{path}: {name} unpacks to {size} bytes, at most {MAX_BYTES}. Take LAION's own zip.")
    return file.read(name)


def _architecture(metadata: bytes) -> tuple[list[str], list[int]]:
    """How each column is taken ("none" for as it is, "int" for a category), and the widths of the linear layers.

    Raises:
        ValueError: a layer or an order of layers that is not these heads'.
    """
    told = next(parts[5] for parts in map(_message, _each(metadata, 1)) if parts.get(4) == b"_tf_keras_network")
    layers = json.loads(told)["config"]["layers"]
    kinds = [layer["class_name"] for layer in layers]
    before = [None, *(layer["name"] for layer in layers[:-1])]
    if any(layer["inbound_nodes"][0][0][0] != name for layer, name in zip(layers[1:], before[1:], strict=True)):
        raise ValueError("its layers are no chain")
    middle = [kind for kind in kinds[3:-2] if kind != "Dropout"]
    if (
        kinds[:3] != ["InputLayer", "Custom>MultiCategoryEncoding", "Normalization"]
        or kinds[-2:] != ["Dense", "Activation"]
        or middle != ["Dense", "ReLU"] * (len(middle) // 2)
        or layers[-1]["config"]["activation"] != "sigmoid"
    ):
        raise ValueError(f"layers {kinds}")
    dense = [layer["config"] for layer in layers if layer["class_name"] == "Dense"]
    relu = [layer["config"] for layer in layers if layer["class_name"] == "ReLU"]
    plain = all(config["activation"] == "linear" and config["use_bias"] for config in dense)
    if not plain or any({name: config[name] for name in RELU} != RELU for config in relu):
        raise ValueError("an activation that is no ReLU")
    encoding = layers[1]["config"]["encoding"]
    if not {"none", "int"} >= set(encoding):
        raise ValueError(f"categories {sorted(set(encoding))}")
    return encoding, [config["units"] for config in dense]


def _numbered(tensors: dict) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Mean and variance, and weight and bias of each linear layer, by the number in their names."""
    numbers = sorted({int(name.split("/")[0].rpartition("-")[2]) for name in tensors if name.startswith("layer_with_")})
    names = [f"layer_with_weights-{i}" for i in numbers]
    norm = next(name for name in names if f"{name}/mean{VALUE}" in tensors)
    dense = [name for name in names if f"{name}/kernel{VALUE}" in tensors]
    mean, variance = (tensors[f"{norm}/{part}{VALUE}"] for part in ("mean", "variance"))
    layers = [tuple(tensors[f"{name}/{part}{VALUE}"] for part in ("kernel", "bias")) for name in dense]
    flat = all(weight.ndim == 2 and bias.shape == weight.shape[1:] for weight, bias in layers)
    arrays = [mean, variance, *(array for pair in layers for array in pair)]
    if not layers or not flat or mean.ndim != 1 or variance.shape != mean.shape:
        raise ValueError("shapes that do not fit")
    if not all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays) or (variance < 0).any():
        raise ValueError("numbers that are not finite float32")
    return mean, variance, layers


def _tables(model: bytes) -> list[dict[str, int]]:
    """The tables of the graph's constants: texts, and behind them as many places from 1, in the columns' order.

    The order was checked against TensorFlow's own answers for both of LAION's files.
    """
    graph = next(_each(next(_each(model, 2)), 2))
    tables, texts = [], []
    for node in _each(graph, 1):
        tensor = _constant(node)
        kind = _message(tensor).get(1)
        if kind == STRING:
            texts = list(_each(tensor, 8))
        elif kind == INT64 and texts and _places(tensor) == list(range(1, len(texts) + 1)):
            tables.append({text.decode(): i for i, text in enumerate(texts, 1)})
            texts = []
    return tables


def _constant(node: bytes) -> bytes:
    """The tensor of a node that is a constant; none of others."""
    if _message(node).get(2) != b"Const":
        return b""
    attributes = (_message(pair) for pair in _each(node, 5))
    return next((_message(pair[2]).get(8, b"") for pair in attributes if pair.get(1) == b"value"), b"")


def _places(tensor: bytes) -> list[int]:
    content = _message(tensor).get(4, b"")
    if isinstance(content, bytes) and content and len(content) % 8 == 0:
        return np.frombuffer(content, "<i8").tolist()
    return []


def _each(message: bytes, number: int) -> Iterator[bytes]:
    """Values of one field, those that are bytes."""
    return (value for found, value in fields(message) if found == number and isinstance(value, bytes))


def _message(message: bytes) -> dict[int, int | bytes]:
    """The last value of each field."""
    return dict(fields(message))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__

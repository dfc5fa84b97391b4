"""TensorFlow bundles, and SavedModels as AutoKeras writes them, made for tests byte by byte."""

import io
import json
import struct
import zipfile

import numpy as np

from ode_vgan.laion.tensorbundle import MAGIC, crc32c, masked

NUMBERS = {"<f4": 1, "<f8": 2, "<i8": 9}


def number(value: int) -> bytes:
    """A varint."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def part(field: int, value: int | bytes) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return number(field << 3) + number(value)
    return number(field << 3 | 2) + number(len(value)) + value


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """A block of a table with its trailer; keys share what they can with the one before."""
    body, before = b"", b""
    for key, value in entries:
        shared = next(
            (i for i, (a, b) in enumerate(zip(key, before, strict=False)) if a != b), min(len(key), len(before))
        )
        body += number(shared) + number(len(key) - shared) + number(len(value)) + key[shared:] + value
        before = key
    body += struct.pack("<II", 0, 1) + b"\0"
    return body + struct.pack("<I", masked(crc32c(body)))


def table(entries: list[tuple[bytes, bytes]]) -> bytes:
    """A table of two data blocks."""
    content, handles = b"", []
    for some in (entries[: len(entries) // 2], entries[len(entries) // 2 :]):
        made = block(some)
        handles.append((some[-1][0] if some else b"", number(len(content)) + number(len(made) - 5)))
        content += made
    meta, index = block([]), block(handles)
    footer = number(len(content)) + number(len(meta) - 5) + number(len(content) + len(meta)) + number(len(index) - 5)
    return content + meta + index + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def bundle(tensors: dict[str, np.ndarray | list[bytes]], header: bytes = part(1, 1)) -> tuple[bytes, bytes]:
    """The index and the data file of a bundle."""
    entries, data = [(b"", header)], b""
    for name, tensor in sorted(tensors.items()):
        if isinstance(tensor, list):
            lengths = b"".join(struct.pack("<I", len(text)) for text in tensor)
            own = struct.pack("<I", masked(crc32c(lengths)))
            raw = b"".join(number(len(text)) for text in tensor) + own + b"".join(tensor)
            told, shape, kind = crc32c(lengths + own + b"".join(tensor)), (len(tensor),), 7
        else:
            raw, shape, kind = tensor.tobytes(), tensor.shape, NUMBERS[tensor.dtype.str]
            told = crc32c(raw)
        sizes = b"".join(part(2, part(1, size)) for size in shape)
        entry = part(1, kind) + part(2, sizes) + part(4, len(data)) + part(5, len(raw))
        entries.append((name.encode(), entry + number(6 << 3 | 5) + struct.pack("<I", masked(told))))
        data += raw
    return table(entries), data


def head_members(
    mean: np.ndarray, variance: np.ndarray, layers: list[tuple[np.ndarray, np.ndarray]], texts: dict[int, list[str]]
) -> dict[str, bytes]:
    """The four files of an AutoKeras head; `texts` are those that a column takes for categories."""
    value = "/.ATTRIBUTES/VARIABLE_VALUE"
    tensors = {f"layer_with_weights-1/mean{value}": mean, f"layer_with_weights-1/variance{value}": variance}
    for i, (weight, bias) in enumerate(layers, 2):
        tensors |= {f"layer_with_weights-{i}/kernel{value}": weight, f"layer_with_weights-{i}/bias{value}": bias}
    index, data = bundle(tensors | {"_CHECKPOINTABLE_OBJECT_GRAPH": [b"graph"]})
    constants = b""
    for words in (texts[column] for column in sorted(texts)):
        spelled = b"".join(part(8, word.encode()) for word in words)
        constants += part(1, constant(part(1, 7) + spelled))
        constants += part(1, constant(part(1, 9) + part(4, np.arange(1, len(words) + 1, dtype="<i8").tobytes())))
    told = json.dumps(architecture([weight.shape[1] for weight, _ in layers], len(mean), list(texts)))
    node = part(2, 0) + part(3, b"root") + part(4, b"_tf_keras_network") + part(5, told.encode())
    return {
        "variables/variables.index": index,
        "variables/variables.data-00000-of-00001": data,
        "keras_metadata.pb": part(1, node),
        "saved_model.pb": part(1, 1) + part(2, part(2, constants)),
    }


def constant(tensor: bytes) -> bytes:
    """A node of a graph."""
    return part(1, b"Const") + part(2, b"Const") + part(5, part(1, b"value") + part(2, part(8, tensor)))


def architecture(units: list[int], width: int, columns: list[int]) -> dict:
    """What Keras tells of the network."""
    encoding = ["int" if i in columns else "none" for i in range(width)]
    layers = [("InputLayer", {}), ("Custom>MultiCategoryEncoding", {"encoding": encoding}), ("Normalization", {})]
    for size in units:
        layers.append(("Dense", {"units": size, "activation": "linear", "use_bias": True}))
        layers.append(("ReLU", {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}))
    layers[-1] = ("Activation", {"activation": "sigmoid"})
    return {
        "config": {
            "layers": [
                {"class_name": kind, "config": config, "name": f"{i}", "inbound_nodes": [[[f"{i - 1}", 0, 0, {}]]]}
                for i, (kind, config) in enumerate(layers)
            ]
        }
    }


def zipped(members: dict[str, bytes], root: str = "head/") -> bytes:
    """A zip of the members below one folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(root + name, content)
    return buffer.getvalue()

"""The three endpoints of clip-retrieval's server, so that its clients work with a folder of clips."""

import base64
import binascii

import numpy as np

from ode_vgan.errors import UserError
from ode_vgan.laion.predicate import Filter
from ode_vgan.laion.search import MAX_DEPTH, NEAR_DUPLICATE, UPLOAD_BYTES, Hit, Search
from ode_vgan.web.asked import asked_count, asked_text

INDICE = "video"
SAFE = 0.5  # LAION's own threshold of its safety switches
MODALITIES = ("image", "video")  # its clients know "image" for the visual side


def knn(search: Search, body: dict, plain) -> list[dict]:
    """What POST /knn-service answers: [{id, similarity, and the metadata of the first num_images}].

    `deduplicate` leaves out near duplicates; `use_safety_model` and `use_violence_detector` narrow the search to
    punsafe and pviolence below 0.5, where the clips have those scores. `aesthetic_score` and `use_mclip` are ignored.

    Args:
        plain: a record of the search made fit for JSON.

    Raises:
        UserError: no query or a broken one, an address to fetch, another index or modality.
    """
    check_indice(body)
    if body.get("modality") not in (*MODALITIES, None):
        raise UserError(f"modality={body.get('modality')!r}: this index holds clips. Use {' or '.join(MODALITIES)}.")
    shown = asked_count(body, "num_images", 100)
    wanted = min(asked_count(body, "num_result_ids", shown), MAX_DEPTH)
    if not wanted:
        return []
    found = search.neighbours(
        query_vector(search, body),
        _safe(search, body),
        limit=wanted,
        collapse=NEAR_DUPLICATE if body.get("deduplicate") else None,
    )
    records = search.describe(found.hits[:shown])
    described = [metadata(record, plain) for record in records] + [{}] * (len(found.hits) - len(records))
    return [
        about | {"id": hit.row, "similarity": hit.similarity} for hit, about in zip(found.hits, described, strict=True)
    ]


def query_vector(search: Search, body: dict) -> np.ndarray:
    """The vector of the one query that a request holds: text, image (base64) or embedding_input.

    Raises:
        UserError: it holds none, or an address: this server fetches nothing.
    """
    text = asked_text(body, "text")
    if text:
        return search.embed_text(text)
    if body.get("image_url"):
        raise UserError("image_url is not fetched by this server. Send the file itself as image, in base64.")
    image = asked_text(body, "image", UPLOAD_BYTES * 2)
    if image:
        try:
            return search.embed_clip(base64.b64decode(image, validate=True))
        except binascii.Error as error:
            raise UserError(f"image is not base64 ({error}). Encode the file's bytes.") from error
    return given_vector(body.get("embedding_input"))


def given_vector(numbers) -> np.ndarray:
    """A vector that a request holds as a list of numbers.

    Raises:
        UserError: it is none.
    """
    try:
        return np.asarray(numbers, dtype=np.float32).reshape(-1) if numbers else _no_query()
    except (ValueError, TypeError) as error:
        raise UserError("the vector must be a list of numbers.") from error


def metadata_of(search: Search, body: dict, plain) -> list[dict]:
    """What POST /metadata answers: [{id, metadata}].

    Raises:
        UserError: another index, or ids that are no rows of it.
    """
    check_indice(body)
    ids = body.get("ids")
    whole = isinstance(ids, list) and all(isinstance(i, int) and 0 <= i < search.count for i in ids)
    if not whole or len(ids) > MAX_DEPTH:
        raise UserError(f"ids must be a list of at most {MAX_DEPTH} numbers from 0 to {search.count - 1}.")
    records = search.describe([Hit(i) for i in ids])
    return [{"id": i, "metadata": metadata(record, plain)} for i, record in zip(ids, records, strict=True)]


def metadata(record: dict, plain) -> dict:
    """A record as its clients expect one: no null, no field of this search's own."""
    return {name: value for name, value in plain(record).items() if value is not None and name not in ("near", "alike")}


def check_indice(body: dict) -> None:
    """Raise unless the request names the one index that there is."""
    if body.get("indice_name", INDICE) != INDICE:
        raise UserError(f"indice_name={str(body['indice_name'])[:40]!r} is not here. There is {INDICE!r}.")


def _safe(search: Search, body: dict) -> Filter:
    switches = {"punsafe": "use_safety_model", "pviolence": "use_violence_detector"}
    return Filter({column: (None, SAFE) for column, switch in switches.items()
                   if body.get(switch) and column in search.rows.columns})  # fmt: skip


def _no_query():
    raise UserError("no query. Give one of text, image and embedding_input.")

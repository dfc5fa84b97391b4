"""The ledger: what every run spent and scored, a folder of parquet files, one a run, in rows of one number each."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ode_vgan.data.clips import write_atomic
from ode_vgan.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

TEXT, NUMBER, WHOLE, TRUTH = "string", "float64", "int64", "bool"
COLUMNS = {
    "run": TEXT,  # the study's name and the run folder's
    "config": TEXT,  # digest of the config, lengths left out: two runs of one name and other configs are two
    "study": TEXT,
    "kind": TEXT,  # gan or clip
    "family": TEXT,  # the run folder's name without its seed
    "model": TEXT,  # of clip: the towers' name; of gan: the class that was trained
    "distribution": TEXT,  # of the training clips
    "seed": WHOLE,
    "clips_data": WHOLE,  # different clips in the training set; null where the config does not say
    "samples_seen": WHOLE,  # clips trained on when this number was taken
    "finished": TRUTH,  # the number is of the end of the run
    "macs_per_sample": NUMBER,  # forward multiply-accumulates of a clip of training
    "macs": NUMBER,  # times samples_seen
    "nfe": NUMBER,  # measured evaluations a path; null without a temporal model
    "parameters": WHOLE,  # of gan: the generator's; of clip: all that were trained
    "seconds": NUMBER,
    "cpu_seconds": NUMBER,
    "metric": TEXT,
    "split": TEXT,
    "protocol": TEXT,  # all else that the number depends on, JSON
    "value": NUMBER,
    "low": NUMBER,
    "high": NUMBER,
    "real": NUMBER,  # other real clips in the place of generated ones; null where that means nothing
    "better": TEXT,  # lower or higher
    "commit": TEXT,
    "date": TEXT,  # UTC, when the run's files were last written
}
KEY = ("run", "config")
FOLDER = "ledger"  # where train.py keeps one, beside the run folders of a study


def schema() -> "pa.Schema":
    """The columns with their Arrow types."""
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])


def append(folder: str | Path, rows: Iterable[Mapping[str, object]]) -> list[Path]:
    """Write the rows of each run to a file of its own, in one step; what the ledger held of that run is replaced.

    Processes may append at the same time: they need no lock, as none writes another run's file.

    Args:
        rows: with any of COLUMNS; the others are null. As `rows_of_run` gives them.

    Raises:
        UserError: a row has another column, or no run.
    """
    runs: dict[tuple[str, str], list[Mapping[str, object]]] = {}
    for row in rows:
        unknown = sorted(row.keys() - COLUMNS.keys())
        if unknown or not row.get("run"):
            raise UserError(f"a ledger row has {f'no column {unknown[0]!r}' if unknown else 'no run'}: {dict(row)}.")
        runs.setdefault((str(row["run"]), str(row.get("config") or "")), []).append(row)
    return [_write(Path(folder), *key, own) for key, own in runs.items()]


def read(folder: str | Path) -> "pa.Table":
    """All rows of a ledger, runs in the order of their names; columns as COLUMNS has them.

    Args:
        folder: of a ledger, of a study that has one in `ledger`, or one file.

    Raises:
        UserError: no such folder, no file in it, or a file that is no part of a ledger.
    """
    import pyarrow as pa

    folder = Path(folder)
    if not folder.exists():
        raise UserError(f"{folder} does not exist; `ode-vgan scale collect RUNS --ledger {folder}` makes a ledger.")
    folder = inner if (inner := folder / FOLDER).is_dir() else folder
    files = [folder] if folder.is_file() else sorted(folder.glob("[!.]*.parquet"))
    if not files:
        raise UserError(f"{folder} holds no parquet file; `ode-vgan scale collect RUNS --ledger {folder}` adds runs.")
    return pa.concat_tables([_read(path) for path in files]).combine_chunks()


def rows_of_run(folder: str | Path, sweep: str | Path | None = None) -> list[dict[str, object]]:
    """Every number of a finished run, with what it had spent by then: rows for `append`.

    Read are config.yaml, metrics.json, started.json, metrics.csv (scores at looks), evaluations/*.json, judged/*.json
    (what `ode-vgan compare` found, at the chosen checkpoint and with --curves at looks).

    Args:
        sweep: the folder that the family is named from, as "gordon2020/tgan"; None is the run's own parent.

    Raises:
        UserError: no run there, or one that is not finished.
    """
    from ode_vgan.report.reading import spent_at
    from ode_vgan.report.study import find_runs, read_config, read_run
    from ode_vgan.scaling.measured import about, measurements

    folder = Path(folder)
    if not folder.is_dir() or next(find_runs(folder), None) != folder:
        raise UserError(f"{folder} is no run folder: it has no config.yaml. Name one that train.py wrote.")
    run, config = read_run(folder, folder if sweep is None else Path(sweep)), read_config(folder)
    if run.state != "finished":
        raise UserError(f"{folder} is {run.state}: {run.note}. Train it to its end, or leave it out.")
    facts = about(run, config)
    rows = []
    for one in measurements(run, config):
        ended = one.samples >= run.facts["clips_seen"]
        macs = facts["macs_per_sample"]
        spent = {name: spent_at(run, one.samples, name) for name in ("seconds", "cpu_seconds")}
        spent |= {name: run.facts.get(name, spent[name]) for name in spent if ended}
        spent |= {"macs": None if macs is None else macs * one.samples, "finished": ended}
        told = {"samples_seen": one.samples, "metric": one.metric, "split": one.split, "better": one.better}
        told |= {"value": one.value, "low": one.low, "high": one.high, "real": one.real}
        rows.append(facts | spent | told | {"protocol": json.dumps(one.protocol, sort_keys=True)})
    return rows


def _write(folder: Path, run: str, config: str, rows: Sequence[Mapping[str, object]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole = [{name: row.get(name) for name in COLUMNS} for row in rows]
    try:
        table = pa.Table.from_pylist(whole, schema=schema())
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(f"{run}: a value does not fit its column of the ledger ({error}).") from None
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    digest = hashlib.sha256(f"{run}\0{config}".encode()).hexdigest()[:12]
    path = folder / f"{re.sub(r'[^A-Za-z0-9_-]+', '_', run)[-80:]}-{digest}.parquet"
    write_atomic(path, buffer.getvalue())
    return path


def _read(path: Path) -> "pa.Table":
    """One file's rows; columns that a later version added are null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as parquet ({str(error).splitlines()[0][:120]}). Remove it.") from None
    missing = [name for name in (*KEY, "metric", "value") if name not in table.column_names]
    if missing:
        raise UserError(f"{path} is no part of a ledger: it has no column {missing[0]!r}. Give TABLE its own folder.")
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema()
    ]
    return pa.table(columns, schema=schema())

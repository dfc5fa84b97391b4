"""What a filter may say is comparisons and nothing else."""

import pytest

from ode_vgan.errors import UserError
from ode_vgan.laion.index import build_index
from ode_vgan.laion.predicate import Filter
from ode_vgan.laion.search import Search
from tests.laion_fixture import make_dataset


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    make_dataset(folder)
    build_index(folder)
    return Search(folder)


@pytest.mark.parametrize(
    "where",
    [
        "motion > 0.2 and caption ilike '%face%'",
        "motion between 0.1 and 0.9 or aesthetic >= 5",
        "lower(caption) in ('grinning face', 'pouting face')",
        "not near_duplicate and length(caption) > 3",
        "regexp_matches(caption, '^[a-z ]+$')",
        "dup_of is null -- a comment ends with its line",
        "duration_seconds::int % 2 = 1",
        "case when motion > 0.5 then punsafe < 0.5 else true end",
    ],
)
def test_conditions_over_columns_are_allowed(search, where):
    rows = search.rows.select(Filter(where=where))
    assert rows is not None and len(rows) <= 48


@pytest.mark.parametrize(
    "where",
    [
        "motion > 0.2; drop table clips",
        "true) union select row from clips where (true",
        "true) order by (1",
        "true) limit (1",
        "row in (select row from clips)",
        "exists (select * from read_csv('/etc/passwd'))",
        "exists (from 'other.parquet')",
        "getenv('HOME') = 'x'",
        "length(read_text('/etc/passwd')) > 1",
        "current_setting('threads') = '1'",
        "length(repeat('x', 1000000000)) > 1",
        "count(*) > 1",
        "row_number() over () = 1",
        "motion = $1",
        "[x for x in [1, 2]] is null",
        "pg_sleep(10)",
        "nextval('s') = 1",
        "clips.motion > 1",
        "nonsense > 1",
        "motion >",
        "'unfinished",
        "attach 'x.db'",
        "copy clips to 'out.csv'",
        "",
    ],
)
def test_anything_else_is_refused_in_one_line(search, where):
    with pytest.raises(UserError) as caught:
        search.rows.select(Filter(where=where or "motion > " + "0" * 2000))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert search.rows.query("SELECT count(*) FROM clips") == [(48,)]


def test_the_connection_itself_reads_no_file_and_unlocks_nothing(search, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    for statement in (
        f"SELECT * FROM read_csv('{tmp_path / 'secret.csv'}')",
        f"COPY clips TO '{tmp_path / 'out.csv'}'",
        f"ATTACH '{tmp_path / 'other.db'}'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
    ):
        with pytest.raises(UserError):
            search.rows.query(statement)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.csv"]


def test_constants_of_a_filter_cannot_leave_their_quotes(search):
    assert len(search.rows.select(Filter(values={"split": ["x') or true --", "'"]}))) == 0
    with pytest.raises(UserError, match="no column"):
        search.rows.select(Filter(values={'split" or true or "split': ["x"]}))
    with pytest.raises(UserError, match="is no bound"):
        search.rows.select(Filter({"motion": (float("nan"), None)}))
    with pytest.raises(UserError, match="does not work"):
        search.rows.select(Filter(where="caption > 5"))

"""Laws of users' SQL: an expression over columns is understood, and nothing else gets through."""

import pytest

from ode_vgan.errors import UserError
from ode_vgan.laion.schema import laion_hash
from ode_vgan.laion.sql import FUNCTIONS, literal, locked_database, parse_expression


@pytest.fixture
def database(tmp_path):
    with locked_database([], tmp_path, memory="200MB", threads=1) as database:
        yield database


def value(database, sql):
    return database.execute(f"SELECT {sql}").fetchone()[0]


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("similarity >= 0.28", {"similarity"}),
        ("Similarity > 1 AND NOT (\"TEXT\" LIKE '%cat%') OR url IN ('a', 'b')", {"similarity", "text", "url"}),
        ("width BETWEEN 1 AND 2 AND CASE WHEN a THEN b ELSE c::INT > 1 END", {"width", "a", "b", "c"}),
        ("aesthetic IS NULL -- a comment", {"aesthetic"}),
        ("url_suffix(url) = 'gif' OR list_contains(['x'], lower(text))", {"url", "text"}),
        ("x = '; DROP TABLE y; -- (SELECT 1)'", {"x"}),
        ("TRUE", set()),
    ],
)
def test_an_expression_names_its_columns_and_keeps_its_meaning(sql, columns):
    expression = parse_expression(sql)
    assert expression.columns == columns
    assert parse_expression(expression.sql) == expression


@pytest.mark.parametrize(
    "sql",
    [
        "",
        " ",
        ";",
        "a > 1;",
        "1; DROP TABLE x",
        "a > 1) FROM read_text('secret') WHERE (TRUE",
        "1) FROM files --",
        "1), (2",
        "a, b",
        "(SELECT 1)",
        "EXISTS (SELECT 1)",
        "a IN (SELECT b FROM c)",
        "a > ALL (SELECT 1)",
        "*",
        "COLUMNS(*) > 1",
        "count(*) OVER () > 1",
        "sum(a) > 1",
        "random() < 0.5",
        "now() > b",
        "getenv('HOME') = 'x'",
        "current_setting('threads') > 1",
        "read_text('secret') IS NULL",
        "query('SELECT 1')",
        "repeat('a', 1000000000) = b",
        "json_serialize_sql('x') = b",
        "files.a > 1",
        "list_filter(a, lambda x: x > 1)",
        "a > $1",
        "a > ?",
        "FROM files SELECT a",
        "a > 1 AND",
        "a > 'open",
        "a > 1 ORDER BY b",
        "a > 1 UNION SELECT 2",
        "x" * 10_001,
        "(" * 4990 + "1" + ")" * 4990,
        "NOT " * 2400 + "a",
        "a" + " + 1" * 2400,
        "a OR NOT (" * 900 + "a" + ")" * 900,
        None,
    ],
)
def test_anything_but_an_expression_is_refused_in_one_line(sql):
    with pytest.raises(UserError) as caught:
        parse_expression(sql, "rule 'mine'")
    message = str(caught.value)
    assert "\n" not in message and "rule 'mine'" in message and len(message) < 2500


def test_no_listed_function_is_an_aggregate_or_depends_on_more_than_its_arguments(database):
    rows = database.execute("SELECT function_name, function_type, stability FROM duckdb_functions()").fetchall()
    kinds = {name: set() for name in FUNCTIONS}
    for name, kind, stability in rows:
        if name in FUNCTIONS:
            kinds[name].add((kind, stability))
    assert [name for name, found in kinds.items() if not found] == []
    assert {kind for found in kinds.values() for kind, _ in found} <= {"scalar", "macro"}
    assert not any(stability == "VOLATILE" for found in kinds.values() for _, stability in found)


@pytest.mark.parametrize(
    "text", ["", "it's", "'; DROP TABLE x; --", '"', "\\", "ü 猫 🐈", "a\nb", "{threshold}", "%s ? $1"]
)
def test_a_literal_is_its_value(database, text):
    assert value(database, literal(text)) == text
    assert value(database, literal([text, "b"])) == [text, "b"]


@pytest.mark.parametrize("number", [0, -1, 2**62, 0.28, 1e-30, True, False, []])
def test_numbers_and_truths_are_themselves(database, number):
    assert float(value(database, literal(number))) == number if number != [] else value(database, literal([])) == []


@pytest.mark.parametrize("thing", [float("nan"), float("inf"), None, {"a": 1}, b"x", [None]])
def test_what_is_no_value_is_refused(thing):
    with pytest.raises(UserError, match="no value for SQL"):
        literal(thing)


@pytest.mark.parametrize(
    ("url", "host", "suffix"),
    [
        ("http://a.example/cat.gif", "a.example", "gif"),
        ("https://A.Example:8080/x.y/Cat.GIF?size=1.jpg#top", "a.example", "gif"),
        ("http://youtube.com@evil.example/v.mp4", "evil.example", "mp4"),
        ("http://a@b@evil.example/v.mp4", "evil.example", "mp4"),
        ("http://a.example/watch?v=x.gif", "a.example", ""),
        ("https://a.example/x.webm#t=1", "a.example", "webm"),
        ("cat.gif", "", "gif"),
        ("", "", ""),
    ],
)
def test_a_url_has_a_host_and_a_suffix(database, url, host, suffix):
    assert value(database, f"url_host({literal(url)})") == host
    found = value(database, f"url_suffix({literal(url)})")
    assert found == suffix or (suffix == "" and found not in ("gif", "mp4"))


def test_a_url_is_on_its_host_and_the_hosts_above_it_only(database):
    hosts = literal(["youtube.com", "vimeo.com"])
    for url, on in [
        ("http://youtube.com/watch?v=1", True),
        ("https://www.YouTube.com/watch", True),
        ("http://notyoutube.com/", False),
        ("http://a.example/youtube.com", False),
        ("http://youtube.com.evil.example/", False),
    ]:
        assert value(database, f"url_is_on({literal(url)}, {hosts})") is on
    assert value(database, f"url_is_on('http://youtube.com/', {literal([])})") is False


def test_the_database_hashes_as_laion_does(database):
    rows = "(VALUES ('http://a/b.gif', 'cat'), (NULL, 'cat'), ('u', NULL), (NULL, NULL)) t(url, text)"
    found = database.execute(f"SELECT url, text, laion_hash(url, text) FROM {rows}").fetchall()
    assert len(found) == 4 and all(key == laion_hash(url, text) for url, text, key in found)


def test_the_database_reaches_only_what_it_was_given(tmp_path):
    (tmp_path / "work").mkdir()
    for name in ("mine", "other"):
        (tmp_path / f"{name}.csv").write_text("a\n1\n")
    refused = [
        f"SELECT * FROM read_csv('{tmp_path}/other.csv')",
        f"SELECT * FROM read_text('{tmp_path}/work/../other.csv')",
        f"SELECT * FROM '{tmp_path}/other.csv'",
        f"COPY (SELECT 1) TO '{tmp_path}/out.parquet'",
        f"ATTACH '{tmp_path}/x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET threads = 8",
        "SELECT * FROM read_csv('http://127.0.0.1:1/x.csv')",
        "SELECT * FROM tmp_path",  # python variables are no tables
    ]
    for sql in refused:
        with pytest.raises(UserError, match="DuckDB: ") as caught:
            with locked_database([tmp_path / "mine.csv"], tmp_path / "work") as database:
                assert database.execute(f"SELECT a FROM read_csv('{tmp_path}/mine.csv')").fetchall() == [(1,)]
                database.execute(sql).fetchall()
        assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"work", "mine.csv", "other.csv"}

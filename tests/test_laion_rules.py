"""Laws of the rules: LAION's own values, held as data, and one clear line for what is not a rule."""

import pytest

from ode_vgan.data.shards import CLIP_SUFFIXES
from ode_vgan.data.soundness import MAX_SIDE_PX
from ode_vgan.errors import UserError
from ode_vgan.laion.rules import DEFAULT_RULES, Rule, check_rules, read_rules, set_thresholds
from ode_vgan.laion.sql import locked_database

RULES = {rule.name: rule for rule in DEFAULT_RULES}


@pytest.fixture(scope="module")
def passes(tmp_path_factory):
    """Whether a rule keeps a row of the given values."""
    with locked_database([], tmp_path_factory.mktemp("work"), memory="200MB", threads=1) as database:

        def judge(rule, **values):
            columns = ", ".join(f"? AS {name}" for name in values)
            sql = f"SELECT coalesce({rule.expression().sql}, FALSE) FROM (SELECT {columns})"
            return database.execute(sql, list(values.values())).fetchone()[0]

        yield judge


def test_the_defaults_are_laions_own_values():
    values = {name: rule.threshold for name, rule in RULES.items()}
    assert values["similarity"] == 0.28 and values["text_length"] == 5 and values["bytes"] == 5 * 1024
    assert values["punsafe"] == 0.5 and values["pwatermark"] == 0.8 and values["side_min"] == 64
    assert values["side_max"] == MAX_SIDE_PX and values["aesthetic"] is None and RULES["aesthetic"].off
    assert set(values["moving"]["suffixes"]) <= CLIP_SUFFIXES
    assert {"gif", "webp", "mp4", "webm", "avi", "mov"} <= set(values["moving"]["suffixes"])
    assert all(rule.source for rule in DEFAULT_RULES)


@pytest.mark.parametrize(
    ("name", "kept", "removed"),
    [
        ("url", {"url": "HTTPS://a.example/x"}, {"url": None}),
        ("url", {"url": "http://a"}, {"url": "file:///etc/passwd"}),
        ("url", {"url": "http://a"}, {"url": "data:image/gif;base64,R0lG"}),
        ("moving", {"url": "http://a.example/cat.GIF?x=1"}, {"url": "http://a.example/cat.jpg?x=cat.gif"}),
        ("moving", {"url": "http://a.example/cat.webm"}, {"url": "http://youtube.com/watch?v=1"}),
        ("text_length", {"text": "12345"}, {"text": "1234"}),
        ("text_length", {"text": "12345"}, {"text": None}),
        ("bytes", {"bytes": 5120}, {"bytes": 5119}),
        ("similarity", {"similarity": 0.28}, {"similarity": 0.2799999}),
        ("similarity", {"similarity": 0.28}, {"similarity": None}),
        ("punsafe", {"punsafe": 0.49}, {"punsafe": 0.5}),
        ("punsafe", {"punsafe": 0.0}, {"punsafe": None}),
        ("nsfw", {"nsfw": "UNLIKELY"}, {"nsfw": "NSFW"}),
        ("pwatermark", {"pwatermark": None}, {"pwatermark": 0.8}),
        ("side_min", {"width": 64, "height": 64}, {"width": 63, "height": 640}),
        ("side_min", {"width": None, "height": 64}, {"width": None, "height": -64}),
        ("side_max", {"width": 8192, "height": None}, {"width": 8193, "height": 1}),
    ],
)
def test_a_default_rule_keeps_and_removes_at_its_threshold(passes, name, kept, removed):
    assert passes(RULES[name], **kept) and not passes(RULES[name], **removed)


def test_thresholds_are_changed_by_name(passes):
    changed = {
        rule.name: rule
        for rule in set_thresholds(
            DEFAULT_RULES, {"similarity": 0.3, "moving.hosts": ["youtube.com"], "aesthetic": 5, "nsfw": None}
        )
    }
    assert list(changed) == list(RULES) and RULES["similarity"].threshold == 0.28
    assert not passes(changed["similarity"], similarity=0.29)
    assert passes(changed["moving"], url="https://www.youtube.com/watch?v=1")
    assert passes(changed["moving"], url="https://a.example/x.gif")
    assert not changed["aesthetic"].off and changed["nsfw"].off
    with pytest.raises(UserError, match="no rule 'simlarity' to set; there are url, moving"):
        set_thresholds(DEFAULT_RULES, {"simlarity": 1})
    with pytest.raises(UserError, match="no threshold 'host'; it has suffixes, hosts"):
        set_thresholds(DEFAULT_RULES, {"moving.host": []})


@pytest.mark.parametrize("threshold", ["x'); DROP TABLE y; --", ["a') OR (TRUE", "b"]])
def test_a_threshold_is_a_value_and_never_sql(passes, threshold):
    rule = Rule(
        "mine", "list_contains({threshold}, text)" if isinstance(threshold, list) else "text = {threshold}", threshold
    )
    wanted = threshold[0] if isinstance(threshold, list) else threshold
    assert passes(rule, text=wanted) and not passes(rule, text="else")


def test_a_rule_without_its_threshold_or_with_the_wrong_part_says_so():
    with pytest.raises(UserError, match="rule 'a': {threshold.x} is not there; its threshold has y"):
        Rule("a", "b > {threshold.x}", {"y": 1}).expression()
    with pytest.raises(UserError, match="its threshold is 3"):
        Rule("a", "b > {threshold.x}", 3).expression()
    with pytest.raises(UserError, match="rule 'a' has a subquery"):
        Rule("a", "b > (SELECT 1)").expression()


def test_rules_are_read_back_as_they_are_written(tmp_path):
    (tmp_path / "rules.yaml").write_text("rules:\n  - {name: cats, sql: \"text LIKE '%cat%'\", source: us}\n")
    assert read_rules(tmp_path / "rules.yaml") == (Rule("cats", "text LIKE '%cat%'"),)
    assert read_rules(tmp_path / "rules.yaml")[0].source == "us"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "rules: 3",
        "rules: [a]",
        "rules: [{name: a}]",
        "rules: [{name: a, sql: b > 1, treshold: 1}]",
        "rules: [{name: a, sql: 3}]",
        "rules: [{name: A, sql: b}]",
        "rules: [{name: duplicate, sql: b}]",
        "rules: [{name: a, sql: b}, {name: a, sql: c}]",
        "rules: [{name: a, sql: b, threshold: .nan}]",
        "rules: [{name: a, sql: b, threshold: {c: {d: 1}}}]",
        "rules: [{name: a, sql: b, threshold: 2020-01-01}]",
        "rules: []\nmore: 1",
        "rules: [",
        "!!python/object/apply:os.system ['false']",
        "\x00",
    ],
)
def test_what_is_no_list_of_rules_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "rules.yaml").write_text(content)
    with pytest.raises(UserError) as caught:
        read_rules(tmp_path / "rules.yaml")
    assert "\n" not in str(caught.value)


def test_no_file_and_too_many_rules_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no rules at"):
        read_rules(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="61 rules are more than 60"):
        check_rules(Rule(f"r{i}", "TRUE") for i in range(61))


def test_every_default_parses_and_names_columns_that_laion_has():
    known = {"url", "text", "bytes", "similarity", "punsafe", "nsfw", "pwatermark", "width", "height", "aesthetic"}
    used = set().union(*(rule.expression().columns for rule in DEFAULT_RULES if not rule.off))
    assert used == known - {"aesthetic"}

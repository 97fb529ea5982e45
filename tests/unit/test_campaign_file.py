"""Campaign files: what they become, every problem with its line, and a schema that agrees with the parser."""

import json
import re
from collections.abc import Iterator
from datetime import date
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lexchange import access, breaker, filters, transforms
from lexchange import campaign as domain
from lexchange.campaign import DATA_FIELDS, Campaign, FieldType, PayoutMode, PayoutRule
from lexchange.campaign_file import LoadedCampaigns, config_version, describe, load_campaigns
from lexchange.errors import ConfigError
from lexchange.keys import hash_key
from lexchange.retention import Retention

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT / "tests" / "cases" / "campaign_file"
EXAMPLES = ROOT / "campaigns"
SCHEMA = json.loads((ROOT / "lexchange" / "campaign_schema.json").read_text("utf-8"))

PEPPER = b"pepper"
ENVIRONMENT = {"ACME_TOKEN": "Bearer s3cret", "EMPTY": "", "BAD": "Bearer s3cret\nX: y"}
BASE = (CASES / "base.yaml").read_text("utf-8")
MINIMAL = "campaign: small\nstatus: active\ntraffic_type: ping_post\npayout: {mode: fixed, amount: 4.00}\n"


def load(path: Path, *, is_dev: bool = True) -> LoadedCampaigns:
    return load_campaigns(path, is_dev=is_dev, pepper=PEPPER, environment=ENVIRONMENT)


def load_text(folder: Path, text: str, name: str = "case.yaml") -> tuple[Campaign, ...]:
    (folder / name).write_text(text, "utf-8")
    return load(folder / name).campaigns


def problems_of(path: Path, *, is_dev: bool = True) -> list[str]:
    """The lines of the ConfigError, with the folder cut off."""
    folder = path if path.is_dir() else path.parent
    with pytest.raises(ConfigError) as caught:
        load(path, is_dev=is_dev)
    return str(caught.value).replace(f"{folder}/", "").split("\n")


# ------------------------------------------------------------------------------------------------- cases with problems


def cases() -> Iterator[Any]:
    for file in sorted(CASES.glob("*.yaml")):
        if file.name != "base.yaml":
            for case in yaml.safe_load(file.read_text("utf-8")):
                yield pytest.param(case, id=f"{file.stem}: {case['rule']}")


@pytest.mark.parametrize("case", list(cases()))
def test_problems_have_their_line_and_say_what_was_expected(case: dict[str, Any], tmp_path: Path) -> None:
    """Each case changes the base campaign and names every line that the refusal must have, and no other."""
    text = BASE
    for old, new in case["changes"]:
        assert text.count(old) == 1, f"{old!r} must be in the base once"
        text = text.replace(old, new)
    (tmp_path / "case.yaml").write_text(text, "utf-8")
    assert problems_of(tmp_path / "case.yaml", is_dev=case.get("is_dev", True)) == case["problems"]


def test_the_base_of_all_cases_is_valid(tmp_path: Path) -> None:
    """A case's problems come from its changes."""
    assert [campaign.campaign for campaign in load_text(tmp_path, BASE)] == ["base"]


def test_no_problem_repeats_a_secret(tmp_path: Path) -> None:
    """Keys, headers and URLs may hold secrets; a refusal names their place only."""
    secret = "s3cret"
    changes = [
        ("key: live_key_value", f"- {secret}"),
        ("key: live_key_value", f"key: [{secret}]"),
        ("key: live_key_value", f"hash: {secret}"),
        ("- key: live_key_value", secret),
        ("X-Partner: calarax", f"X-Partner: [{secret}]"),
        ("X-Partner: calarax", f'X-Partner: "{secret}\\n"'),
        ("X-Partner: calarax", "Authorization: {env: BAD}"),
        ("https://acme.example/ping", f"https://user:{secret}@acme.example/ping"),
        ("https://acme.example/ping", f"http:/acme.example/ping?key={secret}"),
    ]
    for old, new in changes:
        assert old in BASE
        (tmp_path / "case.yaml").write_text(BASE.replace(old, new), "utf-8")
        assert secret not in "\n".join(problems_of(tmp_path / "case.yaml"))


# ------------------------------------------------------------------------------------------------------------- values


def test_a_campaign_of_four_keys_has_the_defaults_of_its_values(tmp_path: Path) -> None:
    """What a file leaves out is what campaign.py says."""
    assert load_text(tmp_path, MINIMAL) == (
        Campaign(
            campaign="small",
            name="small",
            status=domain.CampaignStatus.ACTIVE,
            traffic_type=domain.TrafficType.PING_POST,
            payout=PayoutRule(mode=PayoutMode.FIXED, amount_micros=4_000_000),
        ),
    )


def test_every_key_reaches_its_value() -> None:
    """The reference example, value by value where a key could get lost."""
    campaign = load(EXAMPLES / "every_key.yaml").campaigns[0]
    assert campaign.currency == "USD"
    assert campaign.routing == domain.Routing(
        mode=domain.RoutingMode.WEIGHTED,
        ping_timeout_ms=1200,
        post_timeout_ms=9000,
        ping_ttl_s=600,
        min_bid_micros=1_250_000,
        sell_to=2,
        on_post_reject=domain.OnPostReject.NEXT_BIDDER,
        max_attempts=3,
    )
    assert campaign.payout == PayoutRule(
        mode=PayoutMode.REVENUE_SHARE,
        share=Fraction(4, 5),
        min_micros=1_000_000,
        max_micros=50_000_000,
        min_margin_micros=250_000,
    )
    assert campaign.duplicates == domain.Duplicates(
        fields=("email", "phone"), window_h=48, scope=domain.DuplicateScope.SOURCE
    )
    assert campaign.frozen_fields == domain.FrozenFields(
        fields=("zipcode", "state"), on_change=domain.OnChange.KEEP_PING
    )
    assert campaign.repeat_ping_window_s == 60
    assert campaign.retention == Retention(
        ping_days=90, lead_days=400, lead_data_days=30, kept_fields=("trusted_form_url", "consent_text")
    )


def test_every_key_of_a_source_reaches_its_value() -> None:
    """Plain keys are hashed with the pepper; a hash is taken as it is."""
    (source,) = load(EXAMPLES / "every_key.yaml").campaigns[0].sources
    assert source == domain.Source(
        src="EVERY_SRC",
        name="A publisher",
        keys=(
            domain.SourceKey(hmac_hex="3f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea"),
            domain.SourceKey(hmac_hex=hash_key("plain_key_for_development", PEPPER)),
        ),
        is_enabled=False,
        payout=PayoutRule(mode=PayoutMode.MARGIN, amount_micros=1_500_000),
        min_bid_micros=2_000_000,
        caps=(
            domain.Cap(window=domain.CapWindow.DAY, limit=1000),
            domain.Cap(window=domain.CapWindow.HOUR, limit=5000, counts=domain.CapCounts.PINGS),
            domain.Cap(window=domain.CapWindow.MONTH, budget_micros=20_000_000_000),
        ),
        ping_limit_per_second=200,
    )


def test_every_key_of_a_buyer_reaches_its_value() -> None:
    """Filters nest, caps and hours are numbers, and who has no ping stands with his bid."""
    buyer, fixed = load(EXAMPLES / "every_key.yaml").campaigns[0].buyers
    rule, op = filters.FieldRule, filters.FilterOp
    assert buyer.filters == filters.AllOf(
        rules=(
            rule(field="state", op=op.IN, value=("CA", "NO", "NY")),
            rule(field="year_built", op=op.BETWEEN, value=("1950", "2020")),
            rule(field="phone", op=op.EXISTS, value=("true",)),
            filters.AnyOf(
                rules=(
                    rule(field="zipcode", op=op.PREFIX, value=("90", "91")),
                    rule(field="email", op=op.MATCHES, value=(r"@example\.(com|org)$",)),
                    filters.AllOf(
                        rules=(
                            rule(field="home_owner", op=op.EQ, value=("yes",)),
                            rule(field="coverage_start", op=op.GTE, value=("2026-01-01",)),
                        )
                    ),
                )
            ),
            filters.Not(rule=rule(field="sub_id", op=op.CONTAINS, value=("test",))),
            rule(field="zipcode", op=op.IN, value=("02138", "02139", "90001")),
            rule(field="zipcode", op=op.NOT_IN, value=("90001",)),
        )
    )
    assert (buyer.priority, buyer.weight, buyer.bid_micros, buyer.ping_limit_per_second) == (1, 10, 4_000_000, 50)
    assert buyer.only_sources == frozenset({"EVERY_SRC"})
    assert buyer.caps == (
        domain.Cap(window=domain.CapWindow.DAY, limit=100, reserve=domain.CapReserve.PING),
        domain.Cap(window=domain.CapWindow.TOTAL, budget_micros=50_000_000_000),
        domain.Cap(window=domain.CapWindow.DAY, limit=20, src="EVERY_SRC"),
        domain.Cap(
            window=domain.CapWindow.MONTH,
            limit=900,
            from_day=date(2026, 12, 1),
            until_day=date(2027, 2, 28),
            time_zone="UTC",
        ),
    )
    hours = domain.OpenHours(days=frozenset({0, 1, 2, 3, 4}), from_minute=480, to_minute=1200)
    assert (buyer.schedule, buyer.time_zone) == ((hours,), "America/New_York")
    assert buyer.bid_adjustment == domain.BidAdjustment(factor=Fraction(9, 10), amount_micros=250_000)
    assert (buyer.is_exclusive, fixed.bid_adjustment) == (False, None)
    assert buyer.breaker == breaker.BreakerRule(mode=breaker.BreakerMode.ENFORCE)
    assert fixed.breaker.mode is breaker.BreakerMode.SHADOW
    assert buyer.post.connection_limit == 20
    assert (fixed.name, fixed.bid_micros, fixed.ping) == ("fixed_buyer", 3_500_000, None)
    assert (fixed.only_sources, fixed.except_sources) == (None, frozenset({"EVERY_SRC"}))


def test_every_key_of_an_endpoint_reaches_its_value() -> None:
    """Headers from the environment are secret, constants keep their type, rules keep their parts."""
    buyer = load(EXAMPLES / "every_key.yaml").campaigns[0].buyers[0]
    step, kind = transforms.Transform, transforms.TransformName
    assert buyer.ping is not None
    assert buyer.ping.headers == (
        domain.Header(name="Authorization", value="Bearer s3cret", is_secret=True),
        domain.Header(name="X-Partner", value="calarax"),
    )
    assert buyer.ping.fields[1:4] == (
        domain.MappedField(
            path="lead.state",
            sources=("lead.state",),
            value_map={"CA": "California", "NY": "New York"},
            default="Other",
            cast=domain.Cast.TEXT,
        ),
        domain.MappedField(path="built", sources=("lead.year_built",), default=0, cast=domain.Cast.INTEGER),
        domain.MappedField(path="mobile", sources=("lead.phone",), transforms=(step(name=kind.E164),)),
    )
    by_path = {field.path: field for field in buyer.ping.fields}
    assert {
        path: by_path[path].transforms for path in ("area_code", "start", "year", "running", "house", "flat_zip")
    } == {
        "area_code": (step(name=kind.NATIONAL, arguments=("US",)), step(name=kind.FIRST, arguments=(3,))),
        "start": (step(name=kind.DATE, arguments=("MM/DD/YYYY", "YYYY-MM-DD", "UTC")),),
        "year": (step(name=kind.DATE, arguments=("YYYY",)),),
        "running": (step(name=kind.AGE, arguments=("UTC", "YYYY-MM-DD")),),
        "house": (step(name=kind.SPLIT, arguments=(" ", 0)),),
        "flat_zip": (
            step(name=kind.REPLACE, arguments=("-", "")),
            step(name=kind.PREFIX, arguments=("US",)),
            step(name=kind.SUFFIX, arguments=(".",)),
        ),
    }
    assert (by_path["street"].sources, by_path["street"].join) == (("lead.street_address", "lead.city"), ", ")
    exists = filters.FieldRule(field="year_built", op=filters.FilterOp.EXISTS, value=("true",))
    assert by_path["decade"].when == filters.AllOf(rules=(exists,))
    assert by_path["vendor"] == domain.MappedField(path="vendor", constant="calarax")
    assert buyer.ping.answer == domain.AnswerRules(
        accepted=domain.AnswerRule(path="status", one_of=("accepted", "ok")),
        rejected=domain.AnswerRule(path="error", exists=True),
        bid_path="data.bids[0].price",
        reason_path="data.reason",
    )
    post = buyer.post
    assert (post.method, post.format, post.timeout_ms, post.is_idempotent) == ("PUT", "xml", 5000, True)
    assert post.answer == domain.AnswerRules(
        accepted=domain.AnswerRule(path="answer.result", one_of=("sold",), http_status=(200, 201)),
        rejected=domain.AnswerRule(matches="duplicate|declined"),
        reason_path="answer.message",
        price_path="answer.@price",
    )


def test_an_endpoint_without_a_time_out_has_the_campaigns(tmp_path: Path) -> None:
    """A buyer may use all the time there is."""
    base = BASE.replace("      timeout_ms: 800\n", "").replace("ping_timeout_ms: 1500", "ping_timeout_ms: 700")
    buyer = load_text(tmp_path, base)[0].buyers[0]
    assert buyer.ping is not None
    assert (buyer.ping.timeout_ms, buyer.post.timeout_ms) == (700, 10_000)


def test_system_fields_keep_their_place_and_what_is_not_changed(tmp_path: Path) -> None:
    """A campaign changes flags and adds values and fields; the published table stays the beginning of its schema."""
    more = (
        "fields: [{name: state, values: [CA, NO]}, {name: age, type: integer}, {name: city, required_on_ping: false}]"
    )
    fields = load_text(tmp_path, f"{MINIMAL}{more}\n")[0].fields
    assert [spec.name for spec in fields] == [*(spec.name for spec in DATA_FIELDS), "age"]
    by_name = {spec.name: spec for spec in fields}
    assert (by_name["state"].type, by_name["state"].values) == (FieldType.ENUM, ("CA", "NO"))
    assert (by_name["state"].required_on_ping, by_name["state"].is_system) == (True, True)
    assert (by_name["city"].required_on_ping, by_name["city"].required_on_post) == (False, True)
    assert by_name["age"].is_system is False
    assert by_name["email"] in DATA_FIELDS


@pytest.mark.parametrize("written", ["NO", "yes", "on", "02134", "1.10", "1e3", "12:30", "2026-11-24", "0x1F", "off"])
def test_text_is_taken_as_it_is_written(written: str, tmp_path: Path) -> None:
    """YAML guesses that NO is false and 02134 is 1116; where a text belongs, nothing is guessed."""
    campaign = load_text(tmp_path, BASE.replace("[CA, NO]", f"[CA, {written}]"))[0]
    rule = campaign.buyers[0].filters.rules[0]
    assert isinstance(rule, filters.FieldRule)
    assert rule.value == ("CA", written)


@pytest.mark.parametrize(
    ("written", "constant"),
    [
        ("calarax", "calarax"),
        ('"007"', "007"),
        ("'true'", "true"),
        ("true", True),
        ("7", 7),
        ("-7.5", -7.5),
        ("1.2.3.4", "1.2.3.4"),
        ("2026-11-24", "2026-11-24"),
        ("!!str 7", "7"),
    ],
)
def test_a_constant_keeps_its_type(written: str, constant: object, tmp_path: Path) -> None:
    """Quotes make a text; without them true, false and numbers are what they look like."""
    campaign = load_text(tmp_path, BASE.replace("value: calarax", f"value: {written}"))[0]
    assert campaign.buyers[0].ping is not None
    found = campaign.buyers[0].ping.fields[1].constant
    assert (found, type(found)) == (constant, type(constant))


@pytest.mark.parametrize(("written", "micros"), [("7", 7_000_000), ("'7.10'", 7_100_000), ("0.000001", 1), ("0", 0)])
def test_money_is_exact(written: str, micros: int, tmp_path: Path) -> None:
    """Money never passes through a float, quoted or not."""
    campaign = load_text(tmp_path, BASE.replace("min_bid: 0.50", f"min_bid: {written}"))[0]
    assert campaign.routing.min_bid_micros == micros


def test_anchors_and_merge_keys_are_followed(tmp_path: Path) -> None:
    """What several campaigns share is written once; a key of one's own goes before a merged one."""
    text = (
        "campaign: one\nstatus: draft\ntraffic_type: ping_post\npayout: &half {mode: revenue_share, share: 0.5}\n"
        "routing: &fast {ping_timeout_ms: 100, post_timeout_ms: 200}\nsources:\n"
        "  - {src: A, keys: [{key: a}], payout: *half}\n"
        "  - {src: B, keys: [{key: b}], payout: {<<: *half, share: 0.25}}\n"
        "  - {src: C, keys: [{key: c}], payout: {<<: [*half, *half]}}\n"
    )
    shares = [source.payout.share for source in load_text(tmp_path, text)[0].sources if source.payout]
    assert shares == [Fraction(1, 2), Fraction(1, 4), Fraction(1, 2)]


# -------------------------------------------------------------------------------------------------- files and folders


def test_a_folder_is_its_campaign_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Other files, hidden ones and folders below do not count; the version is that of the bytes in this order."""
    for name in ("b.yaml", "a.json", "c.yml"):
        (tmp_path / name).write_text(MINIMAL.replace("small", name[0]), "utf-8")
    (tmp_path / "a.json").write_text(
        '{"campaign":"a","status":"draft","traffic_type":"direct_post",\n\t"payout":'
        '{"mode":"fixed","amount":4},"name":"Sun \\ud83c\\udf1e"}',
        "utf-8",
    )
    for name in ("notes.txt", ".b.yaml", "sub"):
        (tmp_path / name).mkdir() if name == "sub" else (tmp_path / name).write_text("campaign: [", "utf-8")
    (tmp_path / "sub" / "d.yaml").write_text("campaign: [", "utf-8")
    loaded = load(tmp_path)
    assert [campaign.campaign for campaign in loaded.campaigns] == ["a", "b", "c"]
    assert loaded.campaigns[0].name == "Sun \U0001f31e"
    assert loaded.files == tuple(str(tmp_path / name) for name in ("a.json", "b.yaml", "c.yml"))
    assert loaded.version == config_version((tmp_path / name).read_bytes() for name in ("a.json", "b.yaml", "c.yml"))


def test_the_version_is_twelve_digits_of_sha_256() -> None:
    """The audit names a configuration by what was in its files."""
    assert config_version([b"a", b"bc"]) == "ba7816bf8f01"


def test_a_file_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    """The name goes into the store and the log, as UTF-8."""
    (tmp_path / "\udcff.yaml").write_text(Path("campaigns/demo.yaml").read_text())
    with pytest.raises(ConfigError, match=r"udcff\.yaml':1: expected a file name of printable characters"):
        load(tmp_path)


def test_problems_of_all_files_are_listed_and_names_are_unique_over_them(tmp_path: Path) -> None:
    """A SRC tells a call's campaign, so that no two campaigns may share one."""
    (tmp_path / "a.yaml").write_text(BASE, "utf-8")
    (tmp_path / "b.yaml").write_text(BASE, "utf-8")
    (tmp_path / "c.yaml").write_text("campaign: [", "utf-8")
    assert problems_of(tmp_path) == [
        "b.yaml:1: campaign: base is used already, at a.yaml:1",
        "b.yaml:28: sources[0].src: SRC_MAIN is used already, at a.yaml:28",
        "c.yaml:1: expected valid YAML: did not find expected node content while parsing a flow node",
    ]


def test_describe_has_a_line_for_each_campaign() -> None:
    """`lexchange check` shows what it found."""
    assert describe(load(EXAMPLES)) == [
        f"{EXAMPLES}/demo.yaml: ok: home_insurance (active, ping_post) 1 source, 3 buyers",
        f"{EXAMPLES}/direct_post.yaml: ok: solar (active, direct_post) 1 source, 2 buyers",
        f"{EXAMPLES}/every_key.yaml: ok: every_key (draft, ping_post) 1 source, 2 buyers",
    ]


FIVE_MIB = 5 * 1024 * 1024


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "1: expected a campaign; got an empty file"),
        (b"# nothing\n---\n", "1: expected a campaign; got an empty file"),
        (b"campaign: x\nname: caf\xe9\n", "2: expected UTF-8 text; got byte 0xe9"),
        ("campaign: x".encode("utf-16"), "1: expected UTF-8 text; got byte 0xff"),
        (b"campaign: x\nname: a\x00b\n", "2: expected text; got the control character U+0000"),
        (b"[" * 1_000_000, "1: expected at most 64 levels of nesting"),
        (b"- " * 500_000 + b"x", "1: expected at most 64 levels of nesting"),
        (b"#" * (FIVE_MIB + 1), "1: expected at most 5 MiB: split it into several files"),
        (b"#" * FIVE_MIB, "1: expected a campaign; got an empty file"),
    ],
    ids=["empty", "comment", "latin-1", "utf-16", "nul", "brackets", "dashes", "too large", "large"],
)
def test_a_file_that_is_no_campaign_file_is_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    """Whatever lies in the folder is answered with one clear line."""
    (tmp_path / "x.yaml").write_bytes(content)
    assert problems_of(tmp_path / "x.yaml") == [f"x.yaml:{problem}"]


def test_aliases_that_multiply_are_refused(tmp_path: Path) -> None:
    """A kilobyte of YAML may stand for gigabytes; it is counted before it is read."""
    levels = [f"  - &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)]
    (tmp_path / "x.yaml").write_text("\n".join(["campaign:", "  - &l0 [lol]", *levels, ""]), "utf-8")
    expected = "expected aliases that stay small; got ones that multiply what they stand for"
    assert problems_of(tmp_path / "x.yaml") == [f"x.yaml:8: {expected}"]


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    """Some editors write one."""
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load(tmp_path / "x.yaml").campaigns[0].campaign == "small"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing.yaml", "missing.yaml:1: expected a readable file: No such file or directory"),
        ("notes.txt", "notes.txt:1: expected a .yaml, .yml or .json file, or a folder of them"),
    ],
)
def test_a_path_that_is_no_campaign_file_is_refused(name: str, problem: str, tmp_path: Path) -> None:
    """Nothing is served from a path that was mistyped."""
    assert problems_of(tmp_path / name) == [problem]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """An exchange without campaigns is a mistake."""
    with pytest.raises(ConfigError, match=":1: expected at least one"):
        load(tmp_path)


# ------------------------------------------------------------------------------------------------ examples and schema


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_examples_fit_the_schema_that_they_name(file: Path) -> None:
    """An editor shows no error in them."""
    text = file.read_text("utf-8")
    assert text.startswith("# yaml-language-server: $schema=../lexchange/campaign_schema.json\n")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for document in yaml.safe_load_all(text):
        jsonschema.Draft202012Validator(SCHEMA).validate(document)


def test_the_demo_campaign_pays_what_the_published_example_says() -> None:
    """Acme's 7.00 at 85 % is the published bid of 5.95."""
    campaign = load(EXAMPLES / "demo.yaml").campaigns[0]
    assert 7_000_000 * campaign.payout.share == 5_950_000
    assert [buyer.ping.url for buyer in campaign.buyers if buyer.ping] == [
        "http://127.0.0.1:18081/ping",
        "http://127.0.0.1:18082/ping",
        "http://127.0.0.1:18083/ping",
    ]


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def mappings(value: object, schema: dict[str, Any], path: tuple[str | int, ...] = ()) -> Iterator[Any]:
    """Every mapping of a document with the part of the schema it must fit."""
    schema = resolve(schema)
    for branch in schema.get("anyOf", ()) if "properties" not in schema else ():
        if isinstance(value, dict) == ("properties" in resolve(branch)):
            schema = resolve(branch)
    if isinstance(value, dict):
        yield path, value, schema
        for key, below in value.items():
            part = schema.get("properties", {}).get(key) or schema["additionalProperties"]
            yield from mappings(below, part, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from mappings(below, schema.get("items", {}), (*path, index))


def every_mapping() -> list[Any]:
    text = (EXAMPLES / "every_key.yaml").read_text("utf-8")
    return list(mappings(yaml.safe_load(text), SCHEMA))


def place_of(document: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        document = document[step]
    return document


def changed(path: tuple[str | int, ...], change: str, tmp_path: Path) -> list[str]:
    """The problems after one mapping of every_key got an unknown key, or lost one."""
    document = yaml.safe_load((EXAMPLES / "every_key.yaml").read_text("utf-8"))
    mapping = place_of(document, path)
    if change.startswith("+"):
        mapping[change[1:]] = 1
    else:
        del mapping[change[1:]]
    (tmp_path / "case.json").write_text(json.dumps(document), "utf-8")
    return problems_of(tmp_path / "case.json")


STRICT = [(path, schema) for path, _, schema in every_mapping() if "properties" in schema]


@pytest.mark.parametrize(("path", "schema"), STRICT, ids=[".".join(map(str, path)) or "root" for path, _ in STRICT])
def test_schema_and_parser_know_the_same_keys(
    path: tuple[str | int, ...], schema: dict[str, Any], tmp_path: Path
) -> None:
    """What the parser lists as known is what the schema allows, mapping by mapping."""
    (problem,) = [line for line in changed(path, "+qqqqqqqq", tmp_path) if "unknown key" in line]
    known = re.search(r"known here: (.*)$", problem)
    assert known
    assert known[1].split(", ") == sorted(schema["properties"])
    assert schema["additionalProperties"] is False


REQUIRED = [(path, key) for path, schema in STRICT for key in schema.get("required", ())]


@pytest.mark.parametrize(("path", "key"), REQUIRED, ids=[".".join(map(str, (*path, key))) for path, key in REQUIRED])
def test_schema_and_parser_require_the_same_keys(path: tuple[str | int, ...], key: str, tmp_path: Path) -> None:
    """What the schema requires, the parser misses."""
    assert any(f"missing key {key}" in line for line in changed(path, f"-{key}", tmp_path))


def test_reference_example_and_page_have_every_key() -> None:
    """What the schema knows, every_key.yaml shows and docs/campaign-file.md explains."""
    known = {key for _, schema in STRICT for key in schema["properties"]}
    assert known - {key for _, mapping, _ in every_mapping() for key in mapping} == set()
    page = (ROOT / "docs" / "campaign-file.md").read_text("utf-8")
    assert [key for key in sorted(known) if f"| `{key}` |" not in page] == []
    seen = [schema for _, schema in STRICT]
    assert [name for name, part in SCHEMA["$defs"].items() if "properties" in part and part not in seen] == []


def enums(schema: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(schema, dict):
        if "enum" in schema and "description" in schema:
            yield tuple(schema["enum"])
        for part in schema.values():
            yield from enums(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from enums(part)


def test_schema_and_values_have_the_same_choices() -> None:
    """A choice added to campaign.py or filters.py is one that editors offer."""
    ours = {
        tuple(member.value for member in kind)
        for kind in [each for module in (domain, filters, access) for each in vars(module).values()]
        + [breaker.BreakerMode]
        if isinstance(kind, type) and issubclass(kind, StrEnum) and kind is not StrEnum
    }
    lists = {frozenset(choices) for choices in enums(SCHEMA)}
    assert {frozenset(choices) for choices in ours} <= lists
    parts = SCHEMA["$defs"]
    assert set(transforms.TransformName) == {*parts["transform_name"]["enum"], *parts["transform_step"]["properties"]}


# ----------------------------------------------------------------------------------------------------------- property


JUNK = ["", "\t", "a" * 99, "<<: 1", "!!x y", "[]", "{}", "-1", "1e999", "yes", "*a", "&a", *"~é'\"[{|"]
SEEDS = [BASE, *(file.read_text("utf-8") for file in sorted(EXAMPLES.glob("*.yaml")))]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["drop", "double", "swap", "cut", "junk", "insert", "indent"]),
        st.integers(0, 10_000),
        st.one_of(st.sampled_from(JUNK), st.text(max_size=4)),
    ),
    min_size=1,
    max_size=4,
)


def mutate(text: str, edit: str, where: int, what: str) -> str:
    lines = text.split("\n")
    at = where % len(lines)
    if edit == "drop":
        del lines[at]
    elif edit == "double":
        lines.insert(at, lines[at])
    elif edit == "swap":
        lines[at - 1], lines[at] = lines[at], lines[at - 1]
    elif edit == "cut":
        return text[: where % (len(text) + 1)]
    elif edit == "junk":
        lines[at] = f"{lines[at].partition(': ')[0]}: {what}"
    elif edit == "indent":
        lines[at] = f"  {lines[at]}"
    else:
        at = where % (len(text) + 1)
        return text[:at] + what + text[at:]
    return "\n".join(lines)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.sampled_from(SEEDS), edits=EDITS)
def test_a_damaged_file_is_loaded_or_refused_line_by_line(seed: str, edits: list[Any], tmp_path: Path) -> None:
    """Loading raises nothing but ConfigError, and each of its lines has a place."""
    for edit in edits:
        seed = mutate(seed, *edit)
    file = tmp_path / "case.yaml"
    file.write_bytes(seed.encode("utf-8", "surrogatepass"))
    try:
        load(file)
    except ConfigError as error:
        for line in str(error).split("\n"):
            assert re.match(r"case\.yaml:[1-9]\d*: \S", line.removeprefix(f"{tmp_path}/"))

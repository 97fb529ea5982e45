"""Filter lists that stand in files: their columns, the radius around a place, and what they cost."""

import gc
from pathlib import Path

import pytest

from lexchange.campaign import Campaign
from lexchange.campaign_file import LoadedCampaigns, load_campaigns
from lexchange.eligibility import compile_filter
from lexchange.errors import ConfigError
from lexchange.filters import FieldRule
from tests.cost import CHEAP_S, cpu_s

CAMPAIGN = """
campaign: near
status: active
traffic_type: ping_post
payout: {mode: fixed, amount: 1}
buyers:
"""
BUYER = """
  - buyer: %s
    bid: 5
    filters: [{field: zipcode, op: %s, value: %s}]
    post: {url: "https://x.example/", fields: {a: {value: 1}}, post_response_settings: {accepted: {http_status: 200}}}
"""
# Real distances from 02139 in miles: 02138 1.8, 02108 2.1, 01060 78.06, 90001 2,593.
PLACES = """ZIP;lat;lon
02139;42.3647;-71.1042
"02138";42.3807;-71.1326

02108\t42.3576\t-71.0651\tBoston # the common
01060,42.3223,-72.6313
90001,33.9740,-118.2495
"""


def load(folder: Path, *buyers: tuple[str, str], **files: str) -> LoadedCampaigns:
    """A campaign with one buyer for each (op, value), and the files beside it."""
    for name, content in files.items():
        (folder / name).write_text(content, "utf-8")
    text = CAMPAIGN + "".join(BUYER % (f"b{index}", *buyer) for index, buyer in enumerate(buyers))
    (folder / "near.yaml").write_text(text, "utf-8")
    return load_campaigns(folder / "near.yaml", is_dev=False, pepper=b"", environment={})


def rule_of(campaign: Campaign, index: int = 0) -> FieldRule:
    rule = campaign.buyers[index].filters.rules[0]
    assert isinstance(rule, FieldRule)
    return rule


@pytest.mark.parametrize(
    ("content", "values"),
    [
        ("02138\n02139\n", ("02138", "02139")),
        ("\ufeff02138\r\n\r\n 02139 , Cambridge\r\n", ("02138", "02139")),
        ("# served since May\n02138 # twice\n02138\n", ("02138",)),
        ('"02138";x\n,\n', ("02138",)),
    ],
)
def test_list_is_the_first_column(content, values, tmp_path):
    """Blank lines, remarks, quotes, repetitions and other columns are no values."""
    loaded = load(tmp_path, ("in", "{file: zips}"), zips=content)
    assert rule_of(loaded.campaigns[0]).value == values


@pytest.mark.parametrize(
    ("miles", "zips"),
    [
        ("0", {"02139"}),
        ("1.75", {"02139"}),
        ("1.9", {"02139", "02138"}),
        ("25", {"02139", "02138", "02108"}),
        ("78", {"02139", "02138", "02108"}),
        ("78.1", {"02139", "02138", "02108", "01060"}),
        ("2580", {"02139", "02138", "02108", "01060"}),
        ("12500", {"02139", "02138", "02108", "01060", "90001"}),
    ],
)
def test_radius_takes_the_places_within(miles, zips, tmp_path):
    """As the crow flies, the place itself included."""
    loaded = load(tmp_path, ("in", f'{{file: places, near: "02139", miles: {miles}}}'), places=PLACES)
    assert set(rule_of(loaded.campaigns[0]).value) == zips


def test_radius_decides_about_a_lead(tmp_path):
    """A list in a file filters like one that is written out, and its no can be read."""
    loaded = load(tmp_path, ("not_in", '{file: places, near: "02139", miles: 5}'), places=PLACES)
    failed_rule = compile_filter(rule_of(loaded.campaigns[0]))
    assert failed_rule({"zipcode": "01060"}) is None
    assert failed_rule({"zipcode": "02138"}) == "zipcode not_in [02139, 02138, 02108]: was 02138"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("{file: empty}", "filters[0].value.file: expected at least one value, one a line: empty"),
        ("{file: latin}", "filters[0].value.file: expected UTF-8 text: latin"),
        ('{file: places, near: "10001", miles: 5}', "value: expected near to be in the file; got '10001': places"),
        ('{file: bad, near: "02139", miles: 5}', "a value, its latitude and its longitude: bad:2"),
        ('{file: far, near: "02139", miles: 5}', "a value, its latitude and its longitude: far:1"),
    ],
)
def test_file_that_is_no_list_is_refused(value, problem, tmp_path):
    """With its name, and its line where one is wrong."""
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    files = {"empty": "# nothing\n", "places": PLACES, "bad": "zip,lat,lon\n02139,north,west\n", "far": "02139,1,200\n"}
    with pytest.raises(ConfigError) as error:
        load(tmp_path, ("in", value), **files)
    assert problem in str(error.value).replace(f"{tmp_path}/", "")


def test_version_changes_with_a_list(tmp_path):
    """A ping records the configuration that it ran under, lists and all."""
    versions = {load(tmp_path, ("in", "{file: zips}"), zips=zips).version for zips in ("02138\n", "02139\n", "02138\n")}
    assert len(versions) == 2


def test_long_list_is_kept_once(tmp_path):
    """A hundred buyers with the same 40,000 ZIP codes load in a moment and share one list and one set."""
    zips = "".join(f"{number:05}\n" for number in range(40_000))
    buyers = [("in", "{file: zips}")] * 100
    spent_s = cpu_s(lambda: load(tmp_path, *buyers, zips=zips))
    assert spent_s < 20 * CHEAP_S, spent_s
    campaign = load(tmp_path, *buyers, zips=zips).campaigns[0]
    values = {id(rule_of(campaign, index).value) for index in range(100)}
    assert len(values) == 1
    gc.collect()
    before = sum(isinstance(each, frozenset) and len(each) == 40_000 for each in gc.get_objects())
    compiled = [compile_filter(rule_of(campaign, index)) for index in range(100)]
    gc.collect()
    after = sum(isinstance(each, frozenset) and len(each) == 40_000 for each in gc.get_objects())
    assert after - before <= 1
    assert all(failed_rule({"zipcode": "39999"}) is None for failed_rule in compiled)

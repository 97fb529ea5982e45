"""Documents travel through the store and mean there what they meant where they came from."""

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexchange.campaign_file import Documents, LoadedCampaigns, load_campaigns, load_documents
from lexchange.errors import ConfigError
from tests.exchange.cases import campaign_of

NAMED = {"field": "zipcode", "op": "in", "value": {"file": "lists/zips.txt"}}
CONTENTS = st.dictionaries(st.text(max_size=8), st.text(max_size=30).map(str.encode), max_size=4)


def loaded_from(folder: Path) -> LoadedCampaigns:
    return load_campaigns(folder, is_dev=True, pepper=b"", environment={})


def received(documents: Documents, at: Path) -> LoadedCampaigns:
    return load_documents(documents, at, is_dev=True, pepper=b"", environment={})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A campaign whose first buyer's filter is a list in a file."""
    (tmp_path / "here" / "lists").mkdir(parents=True)
    campaign = orjson.loads(campaign_of({}, "127.0.0.1:1"))
    campaign["buyers"][0]["filters"] = [NAMED]
    (tmp_path / "here" / "auto.yaml").write_bytes(orjson.dumps(campaign))
    (tmp_path / "here" / "lists" / "zips.txt").write_text("90210\n10001\n")
    return tmp_path / "here"


@given(CONTENTS, CONTENTS)
def test_what_is_packed_is_unpacked(files: dict[str, bytes], lists: dict[str, bytes]) -> None:
    """Byte for byte, in the same order."""
    unpacked = Documents.unpacked(Documents(files=files, lists=lists).packed())
    assert list(unpacked.files.items()) == list(files.items())
    assert list(unpacked.lists.items()) == list(lists.items())


@pytest.mark.parametrize("packed", [b"", b"rubbish", Documents(files={}, lists={}).packed()[:-4]])
def test_anything_else_is_refused(packed: bytes) -> None:
    """What another lexchange has packed, or nobody."""
    with pytest.raises(ConfigError, match="expected the documents of a configuration"):
        Documents.unpacked(packed)


def test_another_machine_reads_the_same(folder: Path, tmp_path: Path) -> None:
    """Campaigns, lists and version, though nothing of it is on its disk, and its own files lie elsewhere."""
    own = loaded_from(folder)
    assert set(own.documents.files) == {"auto.yaml"}
    assert own.documents.lists == {"lists/zips.txt": b"90210\n10001\n"}
    for place in (tmp_path / "there", tmp_path / "there.yaml"):
        there = received(Documents.unpacked(own.documents.packed()), place)
        assert (there.campaigns, there.version) == (own.campaigns, own.version)
        assert there.documents == own.documents


def test_problem_names_the_file_where_it_would_stand(folder: Path, tmp_path: Path) -> None:
    """What this machine does not take is told as of a file of its own."""
    documents = loaded_from(folder).documents
    with pytest.raises(ConfigError, match=rf"{tmp_path}/there/auto.yaml:\d+: .*expected"):
        load_documents(documents, tmp_path / "there", is_dev=False, pepper=b"", environment={})

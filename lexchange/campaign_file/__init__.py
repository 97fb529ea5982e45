"""Campaign files: YAML or JSON becomes campaigns, or a ConfigError that lists every problem with its file and line.

It knows the whole of the format and decides nothing about a lead. A configuration is taken whole or not at all.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lexchange.buyers.call import BuyerCall
from lexchange.campaign import Campaign
from lexchange.campaign_file.campaign import read_campaign
from lexchange.campaign_file.document import CampaignFile, Problem, folder_of, parse_documents, read_files
from lexchange.campaign_file.documents import Documents
from lexchange.campaign_file.reading import LinesNeeded, Origin, Value, attempt
from lexchange.campaign_file.references import Reference
from lexchange.campaign_file.scope import Claims, Setting
from lexchange.errors import ConfigError

__all__ = ["Documents", "LoadedCampaigns", "config_version", "describe", "load_campaigns", "load_documents"]

VERSION_DIGITS = 12
ENOUGH_PROBLEMS = 10_000  # after so many, the documents that follow are not read


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedCampaigns:
    """One configuration. `files` names the file of each campaign, in the same order; `calls` are all its endpoints."""

    campaigns: tuple[Campaign, ...]
    calls: tuple[BuyerCall, ...]
    version: str
    files: tuple[str, ...]
    documents: Documents


def load_campaigns(path: Path, *, is_dev: bool, pepper: bytes, environment: Mapping[str, str]) -> LoadedCampaigns:
    """Read a .yaml, .yml or .json file, or all of them directly in a folder.

    `pepper` hashes plain keys, which like http URLs need `is_dev`; `environment` answers `{env: NAME}` in headers.
    Raises ConfigError with one line for each problem of all files, sorted: `campaigns/x.yaml:41: what was expected`.
    """
    problems: list[Problem] = []
    files = read_files(path, problems)
    return _read(files, Setting(is_dev=is_dev, pepper=pepper, environment=environment), problems)


def load_documents(
    documents: Documents, path: Path, *, is_dev: bool, pepper: bytes, environment: Mapping[str, str]
) -> LoadedCampaigns:
    """The same of documents, as if they stood where this machine has its own campaign files: at `path`."""
    folder = folder_of(path)
    files = [CampaignFile(name=str(folder / name), content=content) for name, content in documents.files.items()]
    lists = {name: Reference(str(folder / name), content) for name, content in documents.lists.items()}
    return _read(files, Setting(is_dev=is_dev, pepper=pepper, environment=environment, lists=lists), [])


def _read(files: Sequence[CampaignFile], setting: Setting, problems: list[Problem]) -> LoadedCampaigns:
    """Read without lines as long as nothing is wrong."""
    try:
        return _read_once(files, setting, list(problems), with_lines=False)
    except LinesNeeded:
        return _read_once(files, replace(setting, calls=[]), problems, with_lines=True)


def _read_once(
    files: Sequence[CampaignFile], setting: Setting, problems: list[Problem], *, with_lines: bool
) -> LoadedCampaigns:
    ids, sources = Claims(), Claims()
    campaigns: list[tuple[str, Campaign]] = []
    for file in files:
        origin = Origin(file.name, problems)
        for node in parse_documents(file, problems, with_lines=with_lines):
            value = Value(node, node, origin)
            campaign = attempt(value, partial(read_campaign, setting=setting, ids=ids, sources=sources), None)
            if campaign is not None:
                campaigns.append((file.name, campaign))
            if len(problems) > ENOUGH_PROBLEMS:
                raise _refusal(problems)
    if problems:
        raise _refusal(problems)
    return LoadedCampaigns(
        campaigns=tuple(campaign for _, campaign in campaigns),
        calls=tuple(setting.calls),
        version=config_version(
            [
                *(file.content for file in files),
                *(each.content for named in (setting.lists, setting.secrets) for each in named.values()),
            ]
        ),
        files=tuple(name for name, _ in campaigns),
        documents=Documents(
            files={Path(file.name).name: file.content for file in files},
            lists={name: each.content for name, each in setting.lists.items()},
        ),
    )


def _refusal(problems: list[Problem]) -> ConfigError:
    return ConfigError("\n".join(str(problem) for problem in sorted(set(problems))))


def config_version(texts: Iterable[bytes]) -> str:
    """What a configuration is called in the audit: the first 12 hex digits of SHA-256 over its files in their order.

    Files that campaigns name follow, lists first, in the order in which they are named.
    """
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text)
    return digest.hexdigest()[:VERSION_DIGITS]


def describe(loaded: LoadedCampaigns) -> list[str]:
    """One line for each campaign: `campaigns/demo.yaml: ok: home (active, ping_post) 1 source, 3 buyers`."""
    return [
        f"{file}: ok: {campaign.campaign} ({campaign.status}, {campaign.traffic_type}) "
        f"{_count(len(campaign.sources), 'source')}, {_count(len(campaign.buyers), 'buyer')}"
        for file, campaign in zip(loaded.files, loaded.campaigns, strict=True)
    ]


def _count(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"

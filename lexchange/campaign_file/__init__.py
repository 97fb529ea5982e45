"""Campaign files: YAML or JSON becomes campaigns, or a ConfigError that lists every problem with its file and line.

It knows the whole of the format and decides nothing about a lead. A configuration is taken whole or not at all.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lexchange.campaign import Campaign
from lexchange.campaign_file.campaign import read_campaign
from lexchange.campaign_file.document import Problem, parse_documents, read_files
from lexchange.campaign_file.reading import Origin, Value, attempt
from lexchange.campaign_file.scope import Claims, Setting
from lexchange.errors import ConfigError

__all__ = ["LoadedCampaigns", "config_version", "describe", "load_campaigns"]

VERSION_DIGITS = 12
ENOUGH_PROBLEMS = 10_000  # after so many, the documents that follow are not read


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedCampaigns:
    """One configuration. `files` names the file of each campaign, in the same order."""

    campaigns: tuple[Campaign, ...]
    version: str
    files: tuple[str, ...]


def load_campaigns(path: Path, *, is_dev: bool, pepper: bytes, environment: Mapping[str, str]) -> LoadedCampaigns:
    """Read a .yaml, .yml or .json file, or all of them directly in a folder.

    `pepper` hashes plain keys, which like http URLs need `is_dev`; `environment` answers `{env: NAME}` in headers.
    Raises ConfigError with one line for each problem of all files, sorted: `campaigns/x.yaml:41: what was expected`.
    """
    problems: list[Problem] = []
    setting = Setting(is_dev=is_dev, pepper=pepper, environment=environment)
    ids, sources = Claims(), Claims()
    campaigns: list[tuple[str, Campaign]] = []
    files = read_files(path, problems)
    for file in files:
        origin = Origin(file.name, problems)
        for node in parse_documents(file, problems):
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
        version=config_version(
            [*(file.content for file in files), *(each.content for each in setting.references.values())]
        ),
        files=tuple(name for name, _ in campaigns),
    )


def _refusal(problems: list[Problem]) -> ConfigError:
    return ConfigError("\n".join(str(problem) for problem in sorted(set(problems))))


def config_version(texts: Iterable[bytes]) -> str:
    """What a configuration is called in the audit: the first 12 hex digits of SHA-256 over its files in their order.

    Files that campaigns name follow, in the order in which they are named.
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

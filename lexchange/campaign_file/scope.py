"""What readers know besides the value in front of them: the setting of this process, and the campaign around it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lexchange.buyers.call import BuyerCall
from lexchange.campaign import Routing
from lexchange.campaign_file.reading import Reader, Value
from lexchange.campaign_file.references import References
from lexchange.campaign_file.scalars import whole

TIMEOUT_MS = whole(1, 60_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the process allows and knows. `pepper` hashes plain keys, `environment` answers `{env: NAME}`.

    `lists` and `secrets` (certificates and keys) are the files that campaigns name, as they are read; `calls` are the
    endpoints of buyers, as they are tried out.
    """

    is_dev: bool
    pepper: bytes
    environment: Mapping[str, str]
    lists: References = field(default_factory=dict)
    secrets: References = field(default_factory=dict)
    calls: list[BuyerCall] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a campaign's buyers may refer to. `fields` and `sources` are names."""

    setting: Setting
    fields: frozenset[str]
    sources: frozenset[str]
    routing: Routing
    time_zone: str


class Claims:
    """Names that may be used once."""

    def __init__(self) -> None:
        self._claimed: dict[str, Value] = {}

    def claim(self, value: Value, name: str) -> None:
        """Take the name for this value; reports the value when another one has it."""
        if name in self._claimed:
            value.report(f"{name} is used already, at {self._claimed[name].place}")
        else:
            self._claimed[name] = value.bare

    def claiming(self, read: Reader[str]) -> Reader[str]:
        """A reader of names that nobody has taken."""

        def read_claimed(value: Value) -> str:
            name = read(value)
            self.claim(value, name)
            return name

        return read_claimed

"""The scripts that bring a database up to date: a folder of `migrations` for each engine, applied in order.

Each leaves a row in the table `migrations`. One more row there marks a store that a copy is still being written to: its
version is one that no lexchange knows, so no exchange, of this version or of an older one, opens half a store.
"""

from collections.abc import Collection, Iterator
from enum import Enum
from importlib.resources import files

from lexchange.errors import ConfigError

UNFINISHED = 1_000_000
"""The version of the row that marks an unfinished copy; its name says of what, and how far it has come."""


class Opening(Enum):
    """What may become of a schema when its store is opened."""

    MIGRATE = "it is brought up to date"
    AS_IT_IS = "nothing: it has to be up to date"
    COPY = "it is made where there is none, else it has to be up to date; it may be marked"


def pending(
    engine: str, versions: Collection[int], opening: Opening = Opening.MIGRATE
) -> Iterator[tuple[int, str, str]]:
    """Number, name and script of each missing migration; ConfigError for versions that may not be opened so."""
    known = _migrations(engine)
    version = max((each for each in versions if each != UNFINISHED), default=0)
    if version > len(known):
        raise ConfigError(
            f"the database has schema version {version}, this lexchange knows up to {len(known)}: expected an older one"
        )
    if UNFINISHED in versions and opening is not Opening.COPY:
        raise ConfigError(
            "expected a whole store, got one that `lexchange store copy` has not finished: run it again, "
            "or begin with an empty database"
        )
    is_new = version == 0 and opening is Opening.COPY
    if version < len(known) and opening is not Opening.MIGRATE and not is_new:
        raise ConfigError(
            f"the database has schema version {version}, expected {len(known)}: run `lexchange migrate` on it first"
        )
    for number, (name, script) in enumerate(known[version:], version + 1):
        yield number, name, script


def _migrations(engine: str) -> list[tuple[str, str]]:
    folder = files("lexchange.storage") / "migrations" / engine
    scripts = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return [(script.name, script.read_text("utf-8")) for script in scripts if script.name.endswith(".sql")]

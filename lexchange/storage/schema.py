"""The scripts that bring a database up to date: a folder of `migrations` for each engine, applied in order."""

from collections.abc import Iterator
from importlib.resources import files

from lexchange.errors import ConfigError


def pending(engine: str, version: int) -> Iterator[tuple[int, str, str]]:
    """Number, name and script of each migration after `version`; ConfigError for a version that we do not know."""
    known = _migrations(engine)
    if version > len(known):
        raise ConfigError(
            f"the database has schema version {version}, this lexchange knows up to {len(known)}: expected an older one"
        )
    for number, (name, script) in enumerate(known[version:], version + 1):
        yield number, name, script


def _migrations(engine: str) -> list[tuple[str, str]]:
    folder = files("lexchange.storage") / "migrations" / engine
    scripts = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return [(script.name, script.read_text("utf-8")) for script in scripts if script.name.endswith(".sql")]

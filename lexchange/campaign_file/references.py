"""Reads the files that a campaign file names: certificates and lists. Paths start at the folder of the file itself."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lexchange.campaign_file.reading import Unreadable, Value
from lexchange.campaign_file.scalars import text

REFERENCE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Reference:
    """A file that was read, once, however often it is named."""

    path: str
    content: bytes

    @cached_property
    def rows(self) -> list[tuple[int, list[str]]]:
        """Its lines with their numbers, as columns divided by comma, semicolon or tab; not blank ones and comments.

        Raises UnicodeDecodeError.
        """
        rows = []
        for number, line in enumerate(self.content.decode("utf-8-sig").splitlines(), 1):
            written = line.partition("#")[0].replace(";", ",").replace("\t", ",")
            if written.strip(" ,"):
                rows.append((number, [column.strip(' "') for column in written.split(",")]))
        return rows

    @cached_property
    def first_column(self) -> tuple[str, ...]:
        """One value of each line, the same object for everybody."""
        return tuple(dict.fromkeys(columns[0] for _, columns in self.rows if columns[0]))


References = dict[str, Reference]  # by what campaign files call them: those all lie in one folder


def reference_path(value: Value) -> str:
    """The path as it can be opened."""
    return str(Path(value.origin.file).parent / text(value))


def read_reference(value: Value, references: References) -> Reference:
    """The file that this text names."""
    name, path = text(value), reference_path(value)
    found = references.get(name)
    if found is None:
        try:
            with open(path, "rb") as file:
                content = file.read(REFERENCE_BYTES + 1)
        except OSError as error:
            raise Unreadable(value, f"expected a readable file: {error.strerror or error}: {path}") from error
        if len(content) > REFERENCE_BYTES:
            raise Unreadable(value, f"expected a file of at most {REFERENCE_BYTES // 1024**2} MiB: {path}")
        found = references[name] = Reference(path, content)
    return found

"""Documents: the texts that a configuration consists of, as they travel through the store from node to node.

Campaign files and the lists they name, both by the names they have in their folder. Certificates, keys and environment
variables are no part of it: those are each machine's own.
"""

import zlib
from dataclasses import dataclass

import orjson

from lexchange.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Contents by name, in the order in which they were read. All of it is UTF-8, or it would not have been taken."""

    files: dict[str, bytes]
    lists: dict[str, bytes]

    def packed(self) -> bytes:
        """As they are stored."""
        texts = {"files": _texts(self.files), "lists": _texts(self.lists)}
        return zlib.compress(orjson.dumps(texts))

    @classmethod
    def unpacked(cls, packed: bytes) -> "Documents":
        """What was packed; raises ConfigError for anything else, such as what a later lexchange has packed."""
        try:
            texts = orjson.loads(zlib.decompress(packed))
            return cls(files=_contents(texts["files"]), lists=_contents(texts["lists"]))
        except (zlib.error, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ConfigError("expected the documents of a configuration, as this lexchange stores them") from error


def _texts(contents: dict[str, bytes]) -> dict[str, str]:
    return {name: content.decode() for name, content in contents.items()}


def _contents(texts: dict[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in texts.items()}

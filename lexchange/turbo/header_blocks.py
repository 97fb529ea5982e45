"""Header blocks: HPACK in, from any client; out without a table, so that most answers are made once and for all.

The tables, the Huffman code and the long integers are those of `hpack`. Its decoder takes three times as long as the
loop below for a gRPC request, of which all fields but the deadline are in the table already
(`python -m bench.header_blocks`).
"""

from hpack import HPACKError
from hpack.hpack import decode_integer
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from lexchange.turbo.frames import ConnectionFault, ErrorCode

TABLE_BYTES = 4_096  # of a decoder's table: the default, which we never change
LIST_BYTES = 16_384  # all fields of a request, each counted with 32 bytes more, as RFC 9113 does
FIELD_EXTRA_BYTES = 32
STATUS_200 = b"\x88"  # the eighth entry of the static table

Field = tuple[bytes, bytes]
_STATIC = HeaderTable.STATIC_TABLE
_FIRST_OWN = len(_STATIC) + 1


class HeaderDecoder:
    """One connection's decoder: blocks have to be given in their order, all of them."""

    def __init__(self) -> None:
        self._table = HeaderTable()

    def decode(self, block: bytes) -> list[Field]:
        """The fields; raises ConnectionFault, after which the connection is of no use."""
        try:
            return self._decode(block)
        except (HPACKError, IndexError, UnicodeDecodeError) as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "a header block that cannot be read") from error

    def _decode(self, block: bytes) -> list[Field]:
        found: list[Field] = []
        place, end, list_bytes = 0, len(block), 0
        while place < end:
            first = block[place]
            if first >= 0x80:  # a field of the table
                place, index = _integer(block, place, 7)
                field = self._entry(index)
            elif first & 0xE0 == 0x20:  # another size of the table
                if found:
                    raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "a table size behind a field")
                place = self._resize(block, place)
                continue
            else:
                is_kept = first >= 0x40
                place, index = _integer(block, place, 6 if is_kept else 4)
                place, name = (place, self._entry(index)[0]) if index else _text(block, place)
                place, value = _text(block, place)
                field = (name, value)
                if is_kept:
                    self._table.add(name, value)
            list_bytes += len(field[0]) + len(field[1]) + FIELD_EXTRA_BYTES
            if list_bytes > LIST_BYTES:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"headers of more than {LIST_BYTES} bytes")
            found.append(field)
        return found

    def _entry(self, index: int) -> Field:
        if 0 < index < _FIRST_OWN:
            return _STATIC[index - 1]
        own = self._table.dynamic_entries
        if not 0 <= index - _FIRST_OWN < len(own):
            raise IndexError(index)
        return own[index - _FIRST_OWN]

    def _resize(self, block: bytes, place: int) -> int:
        place, size_bytes = _integer(block, place, 5)
        if size_bytes > TABLE_BYTES:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"a table of more than {TABLE_BYTES} bytes")
        self._table.maxsize = size_bytes
        return place


def _integer(block: bytes, place: int, prefix_bits: int) -> tuple[int, int]:
    mask = (1 << prefix_bits) - 1
    number = block[place] & mask
    if number < mask:
        return place + 1, number
    number, used = decode_integer(block[place : place + 10], prefix_bits)
    return place + used, number


def _text(block: bytes, place: int) -> tuple[int, bytes]:
    is_huffman = block[place] & 0x80
    place, size = _integer(block, place, 7)
    text = block[place : place + size]
    if len(text) < size:
        raise IndexError(size)
    return place + size, decode_huffman(text) if is_huffman else text


def encode(fields: list[Field]) -> bytes:
    """Fields as literals that nobody has to remember."""
    return b"".join(b"\x00" + _literal(name) + _literal(value) for name, value in fields)


def _literal(text: bytes) -> bytes:
    size = len(text)
    if size < 0x7F:
        return bytes([size]) + text
    head, rest = bytearray([0x7F]), size - 0x7F
    while rest >= 0x80:
        head.append(rest & 0x7F | 0x80)
        rest >>= 7
    head.append(rest)
    return bytes(head) + text

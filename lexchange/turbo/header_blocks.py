"""Header blocks: HPACK in, from any client; out without a table, so that most answers are made once and for all.

The tables, the Huffman code and the long integers are those of `hpack`. Its decoder takes several times as long as what
is below for a gRPC request, of which all fields but the deadline are in the table (`python -m bench.header_blocks`).
"""

from hpack import HPACKError
from hpack.hpack import decode_integer
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from lexchange.turbo.frames import ConnectionFault, ErrorCode

TABLE_BYTES = 4_096  # of a decoder's table: the default, which we never change
LIST_BYTES = 16_384  # all fields of a request, each counted with 32 bytes more, as RFC 9113 does
FIELD_EXTRA_BYTES = 32
AHEAD_BITS = 12  # read at once of a Huffman code: two digits
NONE_AHEAD = 1 << 20  # more bits than a text can have
SHORT_BYTES = 64
STATUS_200 = b"\x88"  # the eighth entry of the static table

Field = tuple[bytes, bytes]
_STATIC = HeaderTable.STATIC_TABLE
_FIRST_OWN = len(_STATIC) + 1
_OWN = 0x80 + _FIRST_OWN  # the byte that stands for it
WIDEST_STATIC_BYTES = max(len(name) + len(value) for name, value in _STATIC) + FIELD_EXTRA_BYTES


class HeaderDecoder:
    """One connection's decoder: blocks have to be given in their order, all of them."""

    def __init__(self) -> None:
        self._table = HeaderTable()
        self._own = self._table.dynamic_entries
        self._widest = WIDEST_STATIC_BYTES  # of all fields so far, so that lists are only added up where it matters

    def decode(self, block: bytes) -> list[Field] | None:
        """The fields; None if they are too large. Raises ConnectionFault, after which the connection is of no use."""
        try:
            return self._decode(block)
        except (HPACKError, IndexError, UnicodeDecodeError) as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "a header block that cannot be read") from error

    def _decode(self, block: bytes) -> list[Field] | None:
        found: list[Field] = []
        keep, own = found.append, self._own
        place, end = 0, len(block)
        while place < end:
            first = block[place]
            if _OWN <= first < 0xFF:  # a field of the tables, as nearly all are
                keep(own[first - _OWN])
                place += 1
            elif 0x80 < first < _OWN:
                keep(_STATIC[first - 0x81])
                place += 1
            elif first & 0xE0 == 0x20:  # another size of the table
                if found:
                    raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "a table size behind a field")
                place = self._resize(block, place)
            else:
                place, field = self._field(block, place, first)
                keep(field)
        if len(found) * self._widest > LIST_BYTES and sum(map(_list_bytes, found)) > LIST_BYTES:
            return None  # the table is as the next block expects it: those of others go on
        return found

    def _field(self, block: bytes, place: int, first: int) -> tuple[int, Field]:
        """A field that is written out, wholly or its value; or one far down in the table."""
        if first >= 0x80:
            place, index = _integer(block, place, 7)
            return place, self._entry(index)
        is_kept = first >= 0x40
        place, index = _integer(block, place, 6 if is_kept else 4)
        place, name = (place, self._entry(index)[0]) if index else _text(block, place)
        place, value = _text(block, place)
        field = (name, value)
        if is_kept:
            self._table.add(name, value)
        self._widest = max(self._widest, _list_bytes(field))
        return place, field

    def _entry(self, index: int) -> Field:
        if 0 < index < _FIRST_OWN:
            return _STATIC[index - 1]
        if index < _FIRST_OWN:
            raise IndexError(index)
        return self._own[index - _FIRST_OWN]

    def _resize(self, block: bytes, place: int) -> int:
        place, size_bytes = _integer(block, place, 5)
        if size_bytes > TABLE_BYTES:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"a table of more than {TABLE_BYTES} bytes")
        self._table.maxsize = size_bytes
        return place


def _list_bytes(field: Field) -> int:
    return len(field[0]) + len(field[1]) + FIELD_EXTRA_BYTES


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
    return place + size, read_huffman(text) if is_huffman else text


def _read_ahead() -> list[tuple[bytes, int]]:
    """By the next AHEAD_BITS: which whole symbols they begin with, and how many bits those take."""
    codes = {
        f"{code:0{length}b}": symbol
        for symbol, (code, length) in enumerate(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True))
    }
    table = []
    for ahead in range(1 << AHEAD_BITS):
        digits, begin, symbols = f"{ahead:0{AHEAD_BITS}b}", 0, bytearray()
        for end in range(1, AHEAD_BITS + 1):
            if (symbol := codes.get(digits[begin:end])) is not None:
                symbols.append(symbol)
                begin = end
        table.append((bytes(symbols), begin or NONE_AHEAD))
    return table


_AHEAD = _read_ahead()
_AHEAD_ONES = (1 << AHEAD_BITS) - 1


def read_huffman(text: bytes) -> bytes:
    """What a Huffman code says. `hpack` reads it by halves of bytes, this mostly by two symbols, as in a deadline.

    Long texts, those with a symbol of a long code and those that are wrong are left to `hpack`; raises HPACKError.
    """
    if len(text) > SHORT_BYTES:  # numbers of so many bits would make it slow
        return decode_huffman(text)
    left = len(text) * 8
    bits = int.from_bytes(text) << AHEAD_BITS | _AHEAD_ONES
    found = b""
    while left:
        symbols, count = _AHEAD[bits >> left & _AHEAD_ONES]
        if count > left:
            if left < 8 and bits >> left & _AHEAD_ONES == _AHEAD_ONES:
                break  # padding
            return decode_huffman(text)
        found += symbols
        left -= count
    return found


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

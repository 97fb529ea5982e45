"""Header blocks are read as hpack, the reference, reads them; what it refuses is refused."""

import hpack
import hpack.huffman
import pytest
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import given
from hypothesis import strategies as st

from lexchange.turbo.frames import ConnectionFault
from lexchange.turbo.header_blocks import LIST_BYTES, HeaderDecoder, encode, read_huffman

TEXT = st.binary(max_size=40)
NAMES = st.sampled_from([b":path", b"te", b"x-a", b"grpc-timeout", b"content-type"]) | st.binary(
    min_size=1, max_size=20
)
BLOCKS = st.lists(st.tuples(NAMES, TEXT), max_size=12)


@given(st.lists(st.tuples(BLOCKS, st.booleans()), max_size=8))
def test_what_hpack_writes_is_read(blocks: list[tuple[list[tuple[bytes, bytes]], bool]]) -> None:
    """Block after block, with and without the Huffman code, indexed or not."""
    encoder, decoder = hpack.Encoder(), HeaderDecoder()
    for fields, is_huffman in blocks:
        assert decoder.decode(encoder.encode(fields, huffman=is_huffman)) == fields


@given(st.lists(st.tuples(st.integers(0, 4096), BLOCKS), max_size=6))
def test_table_sizes_are_followed(blocks: list[tuple[int, list[tuple[bytes, bytes]]]]) -> None:
    """A client may make its table smaller and larger again."""
    encoder, decoder = hpack.Encoder(), HeaderDecoder()
    for size_bytes, fields in blocks:
        encoder.header_table_size = size_bytes
        assert decoder.decode(encoder.encode(fields)) == fields


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_rubbish_is_read_as_the_reference_reads_it(blocks: list[bytes]) -> None:
    """The same fields, or a refusal where the reference refuses; never another error."""
    reference, decoder = hpack.Decoder(max_header_list_size=LIST_BYTES), HeaderDecoder()
    for block in blocks:
        try:
            expected = [tuple(field) for field in reference.decode(block, raw=True)]
        except hpack.HPACKError:
            with pytest.raises(ConnectionFault):
                decoder.decode(block)
            return
        assert decoder.decode(block) == expected


ENCODER = hpack.huffman.HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
CODES = st.one_of(
    st.binary(max_size=12),
    st.binary(max_size=6).map(ENCODER.encode),
    st.from_regex(rb"[ -~]{60,120}", fullmatch=True).map(ENCODER.encode),
    st.from_regex(rb"[ -~]{0,12}", fullmatch=True).map(ENCODER.encode),
)


@given(CODES)
def test_huffman_code_is_read_as_the_reference_reads_it(text: bytes) -> None:
    """The same text, or a refusal where the reference refuses."""
    try:
        expected = decode_huffman(text)
    except hpack.HPACKError:
        with pytest.raises(hpack.HPACKError):
            read_huffman(text)
    else:
        assert read_huffman(text) == expected


@given(BLOCKS)
def test_what_goes_out_can_be_read_by_anybody(fields: list[tuple[bytes, bytes]]) -> None:
    """Literals without a table, of any length."""
    assert [tuple(field) for field in hpack.Decoder().decode(encode(fields), raw=True)] == fields


@pytest.mark.parametrize("size", [126, 127, 128, 254, 255, 300, 20_000])
def test_long_texts_go_out_with_their_length(size: int) -> None:
    """At the edges of the integers' code."""
    fields = [(b"x", b"y" * size)]
    assert [tuple(field) for field in hpack.Decoder(100_000).decode(encode(fields), raw=True)] == fields


def test_too_many_headers_are_none() -> None:
    """A small block may name one long field of the table again and again; the next block is read all the same."""
    encoder, decoder = hpack.Encoder(), HeaderDecoder()
    decoder.decode(encoder.encode([(b"x", b"y" * 3_000)]))
    assert decoder.decode(encoder.encode([(b"x", b"y" * 3_000)] * 6)) is None
    assert decoder.decode(encoder.encode([(b"x", b"y" * 3_000)])) == [(b"x", b"y" * 3_000)]

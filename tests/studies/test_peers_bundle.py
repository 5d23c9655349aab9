"""The reader of TensorFlow bundles: on a bundle made by hand, and on those that PyBullet ships."""

import struct

import numpy as np
import pytest

from studies.peers.bundle import masked_crc32c, read_index, read_tensors
from studies.peers.peers import PEERS
from training.errors import PeerError

FLOAT, INT32 = 1, 3


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(dtype, shape, offset, data):
    """A BundleEntryProto: type, shape of nested dimensions, place in the shard, checksum."""
    dims = b"".join(b"\x12" + varint(len(d)) + d for d in (b"\x08" + varint(n) for n in shape))
    return (
        b"\x08" + varint(dtype) + b"\x12" + varint(len(dims)) + dims + b"\x20" + varint(offset)
        + b"\x28" + varint(len(data)) + b"\x35" + struct.pack("<I", masked_crc32c(data))
    )  # fmt: skip


def block(pairs):
    """A table block of sorted pairs, keys shortened by what they share, one restart."""
    out, before = b"", b""
    for key, value in pairs:
        shared = 0
        while shared < min(len(key), len(before)) and key[shared] == before[shared]:
            shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        before = key
    return out + struct.pack("<II", 0, 1)


def table(*blocks):
    """An index file of several blocks, the block that lists them, and the footer."""
    data, handles = b"", []
    for content in (block(pairs) for pairs in blocks):
        handles.append((b"k%d" % len(handles), varint(len(data)) + varint(len(content))))
        data += content + b"\x00" + struct.pack("<I", masked_crc32c(content + b"\x00"))
    content = block(handles)
    handle = varint(len(data)) + varint(len(content))
    data += content + b"\x00" + struct.pack("<I", masked_crc32c(content + b"\x00"))
    footer = (varint(0) + varint(0) + handle).ljust(40, b"\x00")
    return data + footer + struct.pack("<Q", 0xDB4775248B80FB57)


@pytest.fixture
def bundle(tmp_path):
    weights = np.arange(6, dtype="<f4").reshape(2, 3)
    count = np.array(7, dtype="<i4")
    shard = weights.tobytes() + count.tobytes()
    (tmp_path / "b.data-00000-of-00001").write_bytes(shard)
    (tmp_path / "b.index").write_bytes(
        table(
            [
                (b"", b"\x08\x01"),  # the header, which is no variable
                (b"net/weights", message(FLOAT, (2, 3), 0, weights.tobytes())),
                (b"net/weights/adam", message(FLOAT, (2, 3), 0, weights.tobytes())),
            ],
            [(b"normalize/count", message(INT32, (), 24, count.tobytes()))],
        )
    )
    return tmp_path / "b"


def test_checksum_is_the_published_one():
    # CRC-32C of "123456789" is 0xE3069283; masked, that is rotated by 15 bits and shifted.
    crc = 0xE3069283
    assert masked_crc32c(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_a_bundle_made_by_hand(bundle):
    index = read_index(bundle)
    assert list(index) == ["net/weights", "net/weights/adam", "normalize/count"]
    assert (index["net/weights"].shape, index["normalize/count"].shape) == ((2, 3), ())
    tensors = read_tensors(bundle, ["net/weights", "normalize/count"])
    assert tensors["net/weights"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert int(tensors["normalize/count"]) == 7


def test_what_is_damaged_or_missing_is_refused(bundle, tmp_path):
    with pytest.raises(PeerError, match="no variable 'net/bias'"):
        read_tensors(bundle, ["net/bias"])
    shard = tmp_path / "b.data-00000-of-00001"
    data = bytearray(shard.read_bytes())
    data[5] ^= 1
    shard.write_bytes(data)
    with pytest.raises(PeerError, match="checksum of 'net/weights'"):
        read_tensors(bundle, ["net/weights"])
    read_tensors(bundle, ["normalize/count"])  # which lies elsewhere
    shard.write_bytes(data[:10])
    with pytest.raises(PeerError, match="checksum"):
        read_tensors(bundle, ["normalize/count"])
    with pytest.raises(PeerError, match="cannot read"):
        read_index(tmp_path / "absent")


def test_no_byte_of_an_index_can_change_unseen(bundle, tmp_path):
    index = tmp_path / "b.index"
    good, before = index.read_bytes(), read_index(bundle)
    for at in range(len(good)):
        index.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        try:
            assert read_index(bundle) == before  # padding and the unused meta index
        except PeerError:
            continue
        assert at >= len(good) - 48
    for size in range(len(good)):
        index.write_bytes(good[:size])
        with pytest.raises(PeerError):
            read_index(bundle)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("peer-trot", [(4, 133), (133, 100), (100, 8)]),
        ("peer-gallop", [(12, 114), (114, 45), (45, 8)]),
    ],
)
def test_shipped_checkpoints_have_the_layers_of_their_config(name, shapes):
    index = read_index(PEERS[name].checkpoint)
    layers = [f"network/rnn/policy/fully_connected{s}/weights" for s in ("", "_1", "_2")]
    assert [index[layer].shape for layer in layers] == shapes
    assert index["normalize_observ/Variable_1"].shape == shapes[0][:1]
    (count,) = read_tensors(PEERS[name].checkpoint, ["normalize_observ/Variable"]).values()
    assert int(count) == 7_000_000  # the steps of the paper's training

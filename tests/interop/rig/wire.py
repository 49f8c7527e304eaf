"""The few raw Kafka requests that the rig makes itself, in non-flexible versions that every broker from 2.1 to 4.x has.

They set a case up without a JVM start (CreateTopics), wait for a broker (Metadata) and look at what no tool shows: the
record batches as stored, whose attributes say whether a codec reached the log (a client that thinks a broker too old sends
uncompressed and says nothing, KAFKA-18659). They are no test of the protocol; the clients are.
Layouts: clients/src/main/resources/common/message/*.json and DefaultRecordBatch of Apache Kafka.
"""

import socket
import struct
from collections import namedtuple

from .processes import HOST

FETCH, LIST_OFFSETS, METADATA, CREATE_TOPICS = 1, 2, 3, 19
CODECS = {0: "none", 1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}

BrokerNode = namedtuple("BrokerNode", "node_id host port")
Batch = namedtuple("Batch", "base_offset last_offset codec producer_id count max_timestamp")


class ErrorCode(Exception):
    """The broker answered with an error code (org.apache.kafka.common.protocol.Errors)."""


class Connection:
    """One connection, one request at a time."""

    def __init__(self, port, timeout=30):
        self.socket = socket.create_connection((HOST, port), timeout)
        self.correlation_id = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def brokers(self):
        """Metadata v1 for no topic."""
        reply = self._request(METADATA, 1, struct.pack(">i", 0))
        nodes = []
        for _ in reply.array():
            nodes.append(BrokerNode(reply.i32(), reply.string(), reply.i32()))
            reply.string()  # rack
        return nodes

    def create_topic(self, name, partitions, configs=None):
        """CreateTopics v2 with one replica."""
        configs = configs or {}
        body = struct.pack(">i", 1) + _string(name) + struct.pack(">ihi", partitions, 1, 0)
        body += struct.pack(">i", len(configs)) + b"".join(_string(k) + _string(v) for k, v in configs.items())
        reply = self._request(CREATE_TOPICS, 2, body + struct.pack(">i?", 30000, False))
        reply.i32()
        for _ in reply.array():
            topic, code, message = reply.string(), reply.i16(), reply.string()
            if code:
                raise ErrorCode(f"CreateTopics {topic}: {code} {message}")

    def offset(self, topic, partition, timestamp):
        """ListOffsets v1: the offset at a timestamp in ms; -1 is the end, -2 the beginning."""
        body = struct.pack(">ii", -1, 1) + _string(topic) + struct.pack(">iiq", 1, partition, timestamp)
        reply = self._request(LIST_OFFSETS, 1, body)
        reply.i32(), reply.string(), reply.i32(), reply.i32()
        code, _, offset = reply.i16(), reply.i64(), reply.i64()
        if code:
            raise ErrorCode(f"ListOffsets {topic}-{partition}: {code}")
        return offset

    def batches(self, topic, partition):
        """Fetch from the beginning to the high watermark: the headers of all record batches."""
        found, fetch_offset, end = [], 0, self.offset(topic, partition, -1)
        while fetch_offset < end:
            records = self._fetch(topic, partition, fetch_offset)
            batches = [batch for batch in _parse_batches(records) if batch.last_offset >= fetch_offset]
            if not batches:
                raise ErrorCode(f"Fetch {topic}-{partition} at {fetch_offset}: nothing below the high watermark {end}")
            found += batches
            fetch_offset = batches[-1].last_offset + 1
        return found

    def _fetch(self, topic, partition, fetch_offset):
        """Fetch v10, the first version that may carry zstd (KIP-110): the records of one partition."""
        body = struct.pack(">iiiib", -1, 1000, 1, 16 << 20, 0)
        body += struct.pack(">ii", 0, -1)  # no fetch session (KIP-227)
        body += struct.pack(">i", 1) + _string(topic)
        body += struct.pack(">iiiqqi", 1, partition, -1, fetch_offset, -1, 16 << 20)
        reply = self._request(FETCH, 10, body + struct.pack(">i", 0))
        reply.i32()
        code, _session = reply.i16(), reply.i32()
        if code:
            raise ErrorCode(f"Fetch: {code}")
        reply.i32(), reply.string(), reply.i32(), reply.i32()
        code = reply.i16()
        if code:
            raise ErrorCode(f"Fetch {topic}-{partition} at {fetch_offset}: {code}")
        reply.i64(), reply.i64(), reply.i64()
        for _ in reply.array():
            reply.i64(), reply.i64()
        return reply.bytes()

    def _request(self, api_key, version, body):
        self.correlation_id += 1
        frame = struct.pack(">hhi", api_key, version, self.correlation_id) + _string("interop-rig") + body
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)
        reply = _Reader(self._exactly(struct.unpack(">i", self._exactly(4))[0]))
        correlation_id = reply.i32()
        if correlation_id != self.correlation_id:
            raise ErrorCode(f"answer to request {correlation_id}, asked {self.correlation_id}")
        return reply

    def _exactly(self, size):
        received = bytearray()
        while len(received) < size:
            part = self.socket.recv(size - len(received))
            if not part:
                raise ConnectionError(f"closed by the broker after {len(received)} of {size} bytes")
            received += part
        return bytes(received)


def _parse_batches(records):
    """Headers of the record batches of one partition; a torn last batch ends the list (a fetch may cut it)."""
    batches, position = [], 0
    while position + 61 <= len(records):
        base_offset, length = struct.unpack_from(">qi", records, position)
        magic = records[position + 16]
        if magic != 2:
            raise ErrorCode(f"record batch of magic {magic}")
        attributes, last_delta, _, max_timestamp, producer_id, _, _, count = struct.unpack_from(
            ">hiqqqhii", records, position + 21
        )
        if position + 12 + length > len(records):
            break
        codec = CODECS[attributes & 7]
        batches.append(Batch(base_offset, base_offset + last_delta, codec, producer_id, count, max_timestamp))
        position += 12 + length
    return batches


def _string(text):
    encoded = text.encode()
    return struct.pack(">h", len(encoded)) + encoded


class _Reader:
    def __init__(self, data):
        self.data, self.position = data, 0

    def _unpack(self, layout, size):
        (value,) = struct.unpack_from(layout, self.data, self.position)
        self.position += size
        return value

    def i16(self):
        return self._unpack(">h", 2)

    def i32(self):
        return self._unpack(">i", 4)

    def i64(self):
        return self._unpack(">q", 8)

    def array(self):
        return range(max(0, self.i32()))

    def string(self):
        size = self.i16()
        return self._take(size).decode() if size >= 0 else None

    def bytes(self):
        size = self.i32()
        return self._take(size) if size >= 0 else b""

    def _take(self, size):
        taken = self.data[self.position : self.position + size]
        if len(taken) != size:
            raise ErrorCode(f"answer ends {size - len(taken)} bytes early")
        self.position += size
        return taken

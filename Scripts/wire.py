"""The native protocol, as far as a producer and a consumer need it, as spec/02-wire.md tells it.

It shares no line with the program and its client: what both of those got wrong alike is seen here. The
log has a reader of that kind too, Tests/reader.py. Standard library only.
"""

import socket
import struct
import time

from broker import Failed

HELLO, PRODUCE, SUBSCRIBE, CREDIT, ACKNOWLEDGE = 0x01, 0x02, 0x03, 0x05, 0x06
REPLY, DELIVERY, ERROR = 0x80, 0x40, 0xFF
# Codes of spec/06-errors.md.
DRAINING, DISK_FULL = 50, 52


class Refused(Exception):
    """The broker said no, with a code of spec/06-errors.md."""

    def __init__(self, code, is_retryable, message):
        super().__init__(f"refused {'for now' if is_retryable else 'for good'}: {code} {message!r}")
        self.code = code
        self.is_retryable = is_retryable


def crc32c_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE = crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value):
    return varint((value << 1) ^ (value >> 63) if value < 0 else value << 1)


def string16(text):
    data = text.encode()
    return struct.pack("<H", len(data)) + data


def notification(user, address, text, key, subject=None):
    """A record for `record_batch`: the user, and the envelope of a notification."""
    fields = [(1, user), (2, address), (5, subject), (6, text), (10, key)]
    envelope = b""
    for tag, value in fields:
        if value is not None:
            envelope += bytes([tag]) + varint(len(value.encode())) + value.encode()
    return user.encode(), envelope


def fields_of(envelope):
    """Tag to value of a notification envelope; of the repeated ones the last."""
    place, found = 0, {}
    while place < len(envelope):
        tag, length, shift = envelope[place], 0, 0
        place += 1
        while True:
            length |= (envelope[place] & 127) << shift
            place, shift = place + 1, shift + 7
            if envelope[place - 1] < 128:
                break
        found[tag] = envelope[place : place + length]
        place += length
    return found


def record_batch(records):
    """Kafka's record batch v2, big-endian, of (key, value) pairs."""
    now = int(time.time() * 1000)
    body = b""
    for index, (key, value) in enumerate(records):
        record = b"\0" + zigzag(0) + zigzag(index)
        record += zigzag(len(key)) + key + zigzag(len(value)) + value + zigzag(0)
        body += zigzag(len(record)) + record
    checked = struct.pack(
        ">hiqqqhii", 0, len(records) - 1, now, now, -1, -1, -1, len(records)
    ) + body
    inner = struct.pack(">ibI", 0, 2, crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(inner)) + inner


class Native:
    """One native connection: hello, then one request at a time. What comes unasked waits for `next`."""

    def __init__(self, address, name):
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlation = 0
        self.received = b""
        self.waiting = []
        self.ask(HELLO, string16(name) + string16("1") + b"\x01")

    def close(self):
        self.socket.close()

    def fill(self, count):
        """Receives until so many bytes are there; a time-out leaves those that came for the next call."""
        while len(self.received) < count:
            piece = self.socket.recv(1 << 16)
            if not piece:
                raise ConnectionError("the connection ended")
            self.received += piece

    def send(self, operation, body):
        self.correlation += 1
        checked = struct.pack("<BBHI", 1, operation, 0, self.correlation) + body
        self.socket.sendall(struct.pack("<II", len(checked) + 4, crc32c(checked)) + checked)

    def read_frame(self):
        """Operation, correlation and body; an error is thrown as what it is."""
        self.fill(4)
        (length,) = struct.unpack_from("<I", self.received)
        self.fill(4 + length)
        frame, self.received = self.received[4 : 4 + length], self.received[4 + length :]
        (stated,) = struct.unpack_from("<I", frame)
        if stated != crc32c(frame[4:]):
            raise Failed("a frame of the broker has a wrong checksum")
        _, operation, _, correlation = struct.unpack_from("<BBHI", frame, 4)
        body = frame[12:]
        if operation == ERROR:
            code, is_retryable = struct.unpack_from("<HB", body)
            raise Refused(code, bool(is_retryable), body[5:].decode(errors="replace"))
        return operation, correlation, body

    def ask(self, operation, body):
        """The body of the reply."""
        self.send(operation, body)
        while True:
            answered, correlation, rest = self.read_frame()
            if correlation == self.correlation:
                if answered != REPLY | operation:
                    raise Failed(f"{operation:#x} was answered by {answered:#x}")
                return rest
            # Goodbye and deliveries come unasked, with correlation 0.
            self.waiting.append((answered, rest))

    def next(self):
        """Operation and body of what came unasked."""
        if self.waiting:
            return self.waiting.pop(0)
        operation, _, body = self.read_frame()
        return operation, body

    def produce(self, topic, records):
        """The identifiers, one a record; throws for anything that is not an acceptance."""
        body = self.ask(PRODUCE, string16(topic) + b"\xff" + record_batch(records))
        (count,) = struct.unpack_from("<H", body)
        place = 2
        ids = []
        for _ in range(count):
            status, code = struct.unpack_from("<BH", body, place)
            text = body[place + 3 : place + 19].hex()
            place += 19
            if status == 2:
                (length,) = struct.unpack_from("<H", body, place)
                raise Refused(code, False, body[place + 2 : place + 2 + length].decode())
            ids.append("-".join([text[:8], text[8:12], text[12:16], text[16:20], text[20:]]))
        if len(ids) != len(records):
            raise Failed("a reply has not one verdict for each record")
        return ids

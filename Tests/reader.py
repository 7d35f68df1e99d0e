#!/usr/bin/env python3
"""Reads and verifies a Pulse data directory; written from spec/03-storage.md alone.

reader.py [--dump] DIR (a data directory, or one log's): prints counts and problems, exit code 1 for a
problem; with --dump a line of JSON for each record, command and loss. About 8 MB of entries a second.
"""
import collections, functools, json, pathlib, re, struct, sys
BLOCK = 4096
TABLES = [[functools.reduce(lambda c, _: c >> 1 ^ 0x82F63B78 * (c & 1), range(8), n) for n in range(256)]]
for _ in range(7): TABLES.append([crc >> 8 ^ TABLES[0][crc & 255] for crc in TABLES[-1]])
def crc32c(data, seed=0):
    t0, t1, t2, t3, t4, t5, t6, t7 = TABLES
    crc, whole = seed ^ 0xFFFFFFFF, len(data) & ~7
    for a, b, c, d, e, f, g, h in struct.iter_unpack("8B", data[:whole]):
        crc = (t7[a ^ crc & 255] ^ t6[b ^ crc >> 8 & 255] ^ t5[c ^ crc >> 16 & 255]
               ^ t4[d ^ crc >> 24] ^ t3[e] ^ t2[f] ^ t1[g] ^ t0[h])
    for byte in data[whole:]:
        crc = crc >> 8 ^ t0[crc & 255 ^ byte]
    return crc ^ 0xFFFFFFFF
def verifies(block, magic, seed=0):
    return block.startswith(magic) and struct.pack("<I", crc32c(block[:4092], seed)) == block[4092:]
def varint(data, at):
    end = next(end for end in range(at, len(data)) if data[end] < 128)
    value = functools.reduce(lambda sofar, byte: sofar << 7 | byte & 127, data[at:end + 1][::-1], 0)
    return value >> 1 ^ -(value & 1), end + 1
def field(data, at):
    length, at = varint(data, at)
    return (None, at) if length < 0 else (data[at:at + length], at + length)
def records(body):
    base, length, _, magic, crc, attributes, last, time = struct.unpack_from(">qiibIhiq", body)
    count, at, right = struct.unpack_from(">i", body, 57)[0], 61, crc == crc32c(body[21:])
    if not right or magic != 2 or length + 12 != len(body) or last + 1 != count or attributes & ~11:
        raise ValueError("the record batch has impossible fields or fails its checksum")
    for index in range(count if attributes & 7 == 0 else 0):  # compressed: verified, but not inflated
        length, at = varint(body, at)
        end, (delta, at) = at + length, varint(body, at + 1)
        number, at = varint(body, at)
        key, at = field(body, at)
        value, at = field(body, at)
        headers, at = varint(body, at)
        for _ in range(2 * headers):
            _, at = field(body, at)
        if number != index or at != end or index == last and at != len(body):
            raise ValueError(f"record {index} of the batch is malformed")
        yield {"offset": base + index, "time": time + delta, "key": key, "value": value}
STEP = "group:H attempt:H stream:I offset:q previous:Q origin:B from:q "
COMMANDS = {1: "intent " + STEP, 2: "delivered " + STEP + "code:i detail:s", 9: "cancelled " + STEP,
            3: "held " + STEP + "due:q reason:B code:i detail:s", 7: "began wall:q", 10: "released below:Q",
            4: "dead " + STEP + "dead_offset:q cause:B code:i detail:s", 12: "forgot count:I rows:r",
            5: "template channel:B saved:q name:s subject:s text:t html:t", 8: "kept stream:I offset:q row:r",
            6: "group group:H topic:H name:s count:I starts:r", 13: "clock_set milliseconds:q cause:B",
            14: "told wall:q end:r", 15: "remembered to:Q count:I keys:r", 16: "keys_over to:Q count:I keys:r",
            11: "expired group:H stream:I from:q to:q count:I rows:r", 17: "settled rows:r"}
def commands(body):
    at = 0
    while at < len(body):
        kind, length = struct.unpack_from("<BI", body, at)
        (name, *layout), rest, at = COMMANDS[kind].split(), body[at + 5:at + 5 + length], at + 5 + length
        found = {"command": name}
        for name, form in (part.split(":") for part in layout):
            width = "<" + {"s": "H", "t": "I", "r": f"{len(rest)}s"}.get(form, form)
            (value,), rest = struct.unpack_from(width, rest), rest[struct.calcsize(width):]
            if form in "st":
                value, rest = rest[:value].decode(), rest[value:]
            found[name] = value
        if rest or at > len(body):
            raise ValueError(f"a command of kind {kind} has a wrong length")
        yield found
def losses(body):
    count = struct.unpack_from("<H", body, 2)[0] if body else 0  # stream, first offset, the one after, whether exact
    return [{"lost": lost} for lost in struct.iter_unpack("<IqqB", body[12:12 + 21 * count])]
class Log:
    def __init__(self, path, dump=id):
        self.dump, self.problems, self.notes, self.counts = dump, [], [], collections.Counter()
        self.identity, self.end, self.promised, self.stop = None, 0, 0, None
        self.ends, self.positions, self.holes, self.floor = {}, {}, [], (0, None) + (0,) * 7
        names, after, footers = sorted(file.name for file in path.iterdir()), None, {}
        for start in (0, BLOCK) if "floor" in names else ():
            slot = (path / "floor").read_bytes()[start:start + BLOCK]
            if verifies(slot, b"PULSEFLR"):
                self.floor = max(self.floor, struct.unpack_from("<8xQ16sQIHHQQI", slot))
            elif any(slot):
                self.problem("floor", start, "the slot fails its checksum")
        for name in names:
            if re.fullmatch(r"\d{20}\.seg", name):
                after = self.segment(name, (path / name).read_bytes(), after)
                footers |= {after[0]: after} if after else {}
        self.promised = max(self.promised, self.floor[2])
        oldest = next((int(name[:20]) for name in names if name.endswith(".seg")), 0)
        if self.floor[1] not in (None, self.identity) or self.floor[2] and not self.positions or (
                self.floor[4] and oldest > self.floor[6]):
            self.problem("floor", 16, "it is another log's, or the oldest of its log is gone")
        if self.stop and self.promised > self.stop[0]:
            self.problem(*self.stop[1:])
        elif self.stop and not self.stop[3].endswith("end here"):
            self.notes.append("  {1} at byte {2}: torn, never acknowledged: {3}\n".format(*self.stop))
        for name in names:
            if re.fullmatch(r"\d{20}\.idx|gen-\d+-\d+\.keys", name):
                self.index(name, (path / name).read_bytes(), footers)
            elif not re.fullmatch(r"\d{20}\.seg|spare-\d+|floor", name):
                self.notes.append(f"  {name} is unfinished, or not a file of the log\n")
    problem = lambda self, name, byte, text: self.problems.append(f"{name} at byte {byte}: {text}")
    def segment(self, name, data, after):
        major, identity, number, size, *before, synced, chain = (
            struct.unpack_from("<8xH6x16sQQQQ8xQI", data.ljust(BLOCK, b"\0")))
        base, limit, at, entries, fault = number * size, size - BLOCK, BLOCK, 0, "the entries end here"
        self.identity = self.identity or identity
        right = verifies(data[:BLOCK], b"PULSELOG") and major == 1 and identity == self.identity
        if not right or size > len(data) or int(name[:20]) != base:
            return self.problem(name, 0, f"not a header of this log and segment in format 1, but {major}")
        if after == (*before, chain):
            self.stop = None  # at worst a footer is missing, which can be made again
        elif after and not self.stop:
            self.problem(name, 48, "the segment does not follow the one before it")
        self.seed, self.promised, gaps = crc32c(identity), max(self.promised, synced), 0
        chain = struct.unpack_from("<I", data, 84)[0] if data[88] == 1 else crc32c(data[4092:4096], chain)
        cut = self.floor[7] if self.floor[5] & 1 else None  # what is from there on was being cut off
        while at + 64 <= limit and any(data[at:at + 64]) and base + at != cut:
            header, fault = self.header(data, at, base, limit), "no entry that follows the last verifies"
            if not header or header[9] != chain:
                break
            body, next_at = data[at + 64:at + 64 + header[6]], at + 64 + header[6] + -header[6] % 8
            if any(data[at + 64 + header[6]:next_at]) or (
                    crc32c(body, crc32c(data[at + 8:at + 16], self.seed)) != header[1]):
                break
            self.look_into(name, at, body, header)
            at, entries, fault = next_at, entries + 1, "the entries end here"
            chain = crc32c(struct.pack("<II", header[13], header[1]), chain)
            if header[11] == 3:  # it says where the log goes on, and with which chain
                at, chain, gaps = header[5] - base, header[7], gaps + 1
            if self.floor[2] == base + at and self.floor[3] != chain:
                self.problem("floor", 40, "the chain of the log at that position is another")
        self.end, footer = base + at, data[limit:size]
        if verifies(footer, b"PULSEEND", self.seed):
            *ends, synced, foot_chain, foot_gaps = struct.unpack_from("<8xQQQ16xQII", footer)
            self.promised = max(self.promised, synced)
            if (*ends, foot_chain, foot_gaps) == (number, self.end, entries, chain, gaps):
                return number, self.end, chain
        self.stop = self.stop or (self.end, name, at, fault)
        for match in re.finditer(b"PLSE", data[at:limit - 60] if self.end != cut else b""):
            later = self.header(data, at + match.start(), base, limit)
            self.promised = max(self.promised, later[3] if later else 0)
        return number, self.end, chain
    def header(self, data, at, base, limit):
        fields = struct.unpack_from("<4sIQQqqIIIIHBBI", data, at)
        after = base + at + 64 + fields[6]
        if fields[0] == b"PLSE" and fields[2] == base + at >= fields[3] and (
                after <= (fields[5] if fields[11] == 3 else after) <= base + limit):
            return fields if fields[13] == crc32c(data[at:at + 60], self.seed) else None
    def look_into(self, name, at, body, header):
        _, _, position, synced, wall, base, _, stream, _, _, count, kind, _, _ = header
        self.promised, self.positions[position] = max(self.promised, synced), kind
        try:
            found = list({1: records, 2: commands, 3: losses}[kind](body))
        except (ValueError, LookupError, struct.error) as error:
            return self.problem(name, at + 64, f"a body of kind {kind} is malformed: {error!r}")
        spans = [(stream, base, base + count)] if kind == 1 else [one["lost"] for one in found if kind == 3]
        for of, first, after, *exact in spans:
            if self.ends.get(of, first) != first or kind == 1 and found and found[0]["offset"] != base:
                self.problem(name, at, f"stream {of} has {first} after {self.ends.get(of)}")
            self.ends[of], self.counts["lost"] = after, self.counts["lost"] + sum(exact) * (after - first)
        self.holes += [range(position, base)] if kind == 3 else []
        self.counts.update(records=count, gaps=kind // 3)
        self.counts.update(one["command"] for one in found if kind == 2)
        known = self.positions, range(next(iter(self.positions))), *self.holes
        for one in found:
            if not any(one.get("previous", position) in place for place in known):
                self.problem(name, at + 64, f"a step follows {one['previous']}, where no entry begins")
            self.dump({"position": position, "wall": wall, "stream": stream} | one)
    def index(self, name, data, footers):
        head, one = data[:BLOCK].ljust(BLOCK, b"\0"), name.endswith(".idx")
        major, first, *rest = struct.unpack_from("<8xH6xQ" + ("QI4xQQQQII" if one else "QQQII"), head)
        if one and major == 1:
            return self.notes.append(f"  {name} is of an older format, and will be made again\n")
        pages = -(rest[2] // -340) + -(rest[5] // -255) if one else -(rest[1] // -255)
        last, tables = first if one else rest[0], BLOCK * (1 + pages)
        end = tables + 8 * pages + (24 * rest[4] if one else 32 * rest[2])
        good = verifies(head, b"PULSEIDX" if one else b"PULSEGEN", self.seed) and len(data) >= end
        rows = struct.iter_unpack("<QQ8xI4x", data[tables + 8 * pages:end] if good and not one else b"")
        for row in [(first, *rest[:2])] if one else rows:
            good = good and (footers.get(row[0]) == row or not one and row[0] < min(footers))
        for page in range(pages if good else 0):
            seed = crc32c(struct.pack("<QQQ", first, last, page), self.seed)
            good = good and verifies(data[BLOCK * (page + 1):BLOCK * (page + 2)], b"", seed)
        if not good or rest[-2:] != [crc32c(part, self.seed) for part in (data[tables:end], data[end:])]:
            self.problem(name, 0, "it fails its checksums, or is not about these segments")

def main():
    root = pathlib.Path(sys.argv[-1])
    marks = [mark.read_bytes() for mark in root.glob("FORMAT")]
    failed = not all(re.match(rb"pulse data directory, layout [12][,.]", mark) for mark in marks)
    show = (lambda one: print(json.dumps(one, default=bytes.hex))) if "--dump" in sys.argv else id
    for path in sorted(root.glob("shard-*/log")) or [root]:
        log = Log(path, show)
        print(f"{path}: {len(log.positions)} entries to {log.end}", json.dumps(log.counts, sort_keys=True))
        print("".join(f"  PROBLEM: {text}\n" for text in log.problems) + "".join(log.notes), end="")
        failed = failed or log.problems or not log.positions
    sys.exit(1 if failed else 0)
if __name__ == "__main__": main()

// Which version of its layout a state store has, and whether this program may read it. Two numbers: that
// of the rows, in a row of its own, and that of the checkpoint, its first byte.
//
//     key  "format"        value  major u16, minor u16, little-endian; a store without it has 1.0
//
// Source: spec/03-storage.md, "Versions".

import PulseCore

enum StoreFormat {
    static let key = Array("format".utf8)
    /// Raised when an older program could misread a row.
    static let major: UInt16 = 1
    /// 1: a row `h` says when its wait began.
    static let minor: UInt16 = 1
    /// The newest checkpoint that is read.
    static let stateVersion = Checkpoint.version

    static var value: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: major)
        bytes.append(littleEndian: minor)
        return bytes
    }

    /// Refuses what a newer program wrote, before anything of it is read.
    static func check(_ store: any StateStore) throws(ShardError) {
        let rows = try fromStore { () throws(StorageError) in try store.get(key) }
        if let found = rows.flatMap(major(of:)), found > major {
            throw .newerStore(part: "rows", found: Int(found), supported: Int(major))
        }
        let saved = try fromStore { () throws(StorageError) in
            try store.get(Array("checkpoint".utf8))
        }
        guard let version = saved?.first, version > stateVersion else { return }
        throw .newerStore(part: "checkpoint", found: Int(version), supported: Int(stateVersion))
    }

    /// Notes this program's version in a store that it will write to. A newer minor number stays.
    static func stamp(_ store: any StateStore) throws(ShardError) {
        let rows = try fromStore { () throws(StorageError) in try store.get(key) }
        if let found = rows.flatMap(minor(of:)), found >= minor { return }
        var batch = StateBatch()
        batch.put(key, value)
        let changes = batch
        try fromStore { () throws(StorageError) in try store.write(changes) }
    }

    private static func major(of row: [UInt8]) -> UInt16? {
        row.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            return reader.littleEndian()
        }
    }

    private static func minor(of row: [UInt8]) -> UInt16? { major(of: Array(row.dropFirst(2))) }
}

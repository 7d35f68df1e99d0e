// The templates, with all their revisions: a message is rendered with the template as it was at the
// message's own place in the log, so saving a new one never changes what was already accepted.
//
//      key     't' | name | 0 | position u64, big-endian          value   TemplateRow

package import PulseCore

package struct TemplateRevision: Hashable, Sendable {
    package var row: TemplateRow
    /// Where it was saved. Records after it use it, records before it the one before.
    package var position: LogPosition

    package init(row: TemplateRow, position: LogPosition) {
        self.row = row
        self.position = position
    }
}

/// Newest revisions in memory, older ones in the state store.
package struct TemplateCatalog: Sendable {
    /// Sorted by name.
    package private(set) var newest: [TemplateRevision] = []
    private var index: [String: Int] = [:]

    package init() {}

    package func revision(named name: String) -> TemplateRevision? {
        index[name].map { newest[$0] }
    }

    package mutating func save(_ revision: TemplateRevision) {
        if let place = index[revision.row.name] {
            newest[place] = revision
            return
        }
        let place = newest.firstIndex { $0.row.name > revision.row.name } ?? newest.count
        newest.insert(revision, at: place)
        for later in place..<newest.count { index[newest[later].row.name] = later }
    }

    /// Reads the newest revision of every template.
    package static func load(from store: any StateStore) throws(StorageError) -> TemplateCatalog {
        var catalog = TemplateCatalog()
        var from: [UInt8] = [0x74]
        while true {
            let rows = try store.scan(from: from, below: [0x75], limit: 256)
            for row in rows {
                if let revision = Self.revision(from: row) { catalog.save(revision) }
            }
            guard rows.count == 256, let last = rows.last else { return catalog }
            from = last.key + [0]
        }
    }

    /// The revision in force for a record at `position`: the newest saved before it.
    package func revision(
        named name: String,
        before position: LogPosition,
        in store: any StateStore
    ) throws(StorageError) -> TemplateRevision? {
        if let current = revision(named: name), current.position < position { return current }
        var from: [UInt8] = Self.key(name, .zero)
        let below = Self.key(name, position)
        var found: TemplateRevision?
        while true {
            let rows = try store.scan(from: from, below: below, limit: 64)
            if let last = rows.last.flatMap(Self.revision(from:)) { found = last }
            guard rows.count == 64, let last = rows.last else { return found }
            from = last.key + [0]
        }
    }

    package static func key(_ name: String, _ position: LogPosition) -> [UInt8] {
        var bytes: [UInt8] = [0x74]
        bytes.append(contentsOf: name.utf8)
        bytes.append(0)
        bytes.append(bigEndian: position.rawValue)
        return bytes
    }

    static func revision(from row: StateRow) -> TemplateRevision? {
        guard row.key.count > 10 else { return nil }
        let position = row.key.suffix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return row.value.withUnsafeBytes { value in
            var reader = ByteReader(value)
            guard let template = TemplateRow(&reader), reader.isAtEnd,
                row.key == key(template.name, LogPosition(position))
            else { return nil }
            return TemplateRevision(row: template, position: LogPosition(position))
        }
    }
}

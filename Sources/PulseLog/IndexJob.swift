// Making the index file of a sealed segment, off the thread that serves: from the index in memory, or from
// the segment itself where its file is damaged. The file is opened here too, filter and all, so that the
// log's thread reads nothing of it.

import PulseCore

/// One index file to be made. Belongs to the log's thread, lent to a background job while that runs:
/// the two take turns, which makes the unchecked conformance safe.
package final class IndexJob: @unchecked Sendable {
    enum Source {
        case memory(IndexDraft)
        case segment(SegmentEntries)
    }

    enum Outcome {
        case unfinished
        case made(SealedIndex)
        /// The segment itself does not verify here: nothing is written.
        case damagedSegment(at: UInt64, reason: String)
    }

    let footer: SegmentFooter
    let identity: LogIdentity
    private(set) var outcome = Outcome.unfinished
    private let source: Source
    /// No generation covers the segment: its filter will be asked.
    private let needsFilter: Bool

    init(
        _ source: Source,
        footer: SegmentFooter,
        identity: LogIdentity,
        needsFilter: Bool
    ) {
        self.source = source
        self.footer = footer
        self.identity = identity
        self.needsFilter = needsFilter
    }

    func perform(in directory: any LogDirectory) throws(StorageError) {
        guard let draft = try draft() else { return }
        try draft.write(in: directory)
        outcome = .made(
            try reopened(draft.name) { () throws(LogError) in
                let made = try SealedIndex.open(
                    in: directory,
                    base: draft.base,
                    footer: footer,
                    checksums: LogChecksums(identity)
                )
                guard needsFilter, let made else { return made }
                return try made.table.loadFilter() ? made : nil
            }
        )
    }

    private func draft() throws(StorageError) -> IndexDraft? {
        switch source {
        case .memory(let draft): return draft
        case .segment(let entries):
            let found: SegmentEntries.Index
            do throws(LogError) {
                found = try entries.index()
            } catch {
                guard case .storage(let failure) = error else {
                    preconditionFailure("a scan fails only where the file cannot be read")
                }
                throw failure
            }
            switch found {
            case .whole(let index):
                return IndexDraft(index, identity: identity, footer: footer, base: entries.base)
            case .damaged(let position, let reason):
                outcome = .damagedSegment(at: position, reason: reason)
                return nil
            }
        }
    }
}

/// Opens what a job has just written, on the job's thread.
///
/// - Throws: ``StorageError`` when that does not verify; the job is then tried again later.
func reopened<File>(
    _ name: String,
    _ open: () throws(LogError) -> File?
) throws(StorageError) -> File {
    do throws(LogError) {
        if let file = try open() { return file }
    } catch {
        if case .storage(let failure) = error { throw failure }
    }
    let text = "what was just written does not verify"
    throw StorageError(.read, file: name, reason: .failed(code: 0, text: text))
}

/// The entries of a segment, from its header to a known end, and what is needed to index them anew.
struct SegmentEntries: Sendable {
    let file: any LogFile
    let number: UInt64
    let base: UInt64
    let end: UInt64
    let startChain: UInt32
    let geometry: SegmentGeometry
    let checksums: LogChecksums
    let indexer: any EntryIndexer

    enum Index {
        case whole(MemoryIndex)
        case damaged(at: UInt64, reason: String)
    }

    /// Reads all of them: about 0.2 s for a full segment.
    func index() throws(LogError) -> Index {
        let scanner = SegmentScanner(
            file: file,
            number: number,
            geometry: geometry,
            checksums: checksums,
            byte: geometry.entriesStart,
            chain: startChain
        )
        let builder = IndexBuilder(indexer, checksums)
        while scanner.position < end {
            let at = scanner.position
            switch try scanner.next() {
            case .entry(let header, let body):
                builder.add(header, body, byte: geometry.byte(of: at))
            case .full:
                return .damaged(at: at, reason: "the entries end before the segment's end")
            case .fault(let fault, _):
                return .damaged(at: at, reason: fault.reason)
            }
        }
        return .whole(builder.index)
    }
}

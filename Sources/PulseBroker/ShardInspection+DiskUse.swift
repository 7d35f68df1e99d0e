// Where the bytes of a directory are that nobody serves, told by what inspection found: the table of
// `pulse disk`, as far as files tell. Policy is the configuration's, so what is finished is "retained".

package import PulseCore
package import PulseLog

extension ShardInspection {
    /// Like `Shard.diskUse`, of files.
    ///
    /// - Parameters:
    ///   - store: The state store, to find the message that pins the log by its row; nil without one.
    ///   - indexes: Bytes of index files and generations.
    ///   - storeBytes: Bytes of the state store's files.
    package func diskUse(
        of log: LogInspection,
        _ store: (any StateStore)?,
        key: UInt64,
        indexes: Int,
        storeBytes: Int
    ) throws(StorageError) -> DiskUse {
        var use = DiskUse()
        use[.spares] = log.spares * log.segmentBytes
        use[.indexes] = indexes
        use[.stateStore] = storeBytes
        for segment in log.segments {
            let number = state.book.number(of: segment.base)
            let reason: DiskUse.Reason =
                if !segment.isSealed { .active } else if number < state.book.releasedBelow {
                    // A checkpoint past the command lets the files go.
                    checkpoint ?? .zero > state.book.releasedAt
                        ? .waitingForRelease : .waitingForCheckpoint
                } else if state.book.openBytes(in: number).isEmpty { .retained } else { .open }
            use[reason] += log.segmentBytes
            guard reason == .open, use.pin == nil else { continue }
            // Without an index nobody knows which stream's is the oldest.
            guard let oldest = try state.oldestOpen(in: number, store).first,
                let group = state.group(oldest.message.group)
            else { continue }
            use.pin = DiskPin(
                segment: number,
                since: segment.latestWall,
                group: group.name,
                topic: group.topic,
                id: NotificationID(
                    stream: oldest.message.stream,
                    offset: oldest.message.offset,
                    key: key
                ),
                isWaiting: oldest.isWaiting,
                reason: .policy
            )
        }
        return use
    }
}

// Worlds that keep little: what the node may have let go, and what never.

import PulseBroker
import PulseCore
import PulseLog
import PulseNode

extension World {
    /// Whether retention may have let go of a notification: clients and providers think so, and the
    /// shard itself holds it neither open nor waiting, for any group.
    func mayBeGone(_ id: NotificationID, from shard: Shard) -> Bool {
        guard shard.log.firstNumber > 0 else { return false }
        witness.hasReleased = true
        guard witness.mayBeOver(id), let place = id.place(key: shard.log.identity.key) else {
            return false
        }
        for group in shard.state.groups where group.topic == place.stream.topic {
            guard let index = group.index(of: place.stream) else { continue }
            let key = MessageKey(group: group.id, stream: place.stream, offset: place.offset)
            guard group.streams[index].progress.isDone(place.offset), !shard.leases.holds(key)
            else {
                return false
            }
            do throws(ShardError) {
                if try shard.waitingRow(of: key) != nil { return false }
            } catch { return false }
        }
        return true
    }

    /// Whether the answer that there is no such notification may be right.
    func mayNotExist(_ id: NotificationID) -> Bool {
        node.map { mayBeGone(id, from: $0.shard) } ?? (knobs.retention != nil)
    }

    /// Whether a group need not have seen a notification: it began when that was gone, or nobody read
    /// for the group and it lost its share.
    func isExcused(_ id: NotificationID, _ name: String, _ channel: Channel) -> Bool {
        guard let shard = node?.shard, knobs.retention != nil, isFinished(id, name, channel),
            let group = shard.state.group(named: name, on: channel.topic)
        else { return false }
        return group.expired > 0 || witness.isOlder(id, than: name, channel)
    }

    /// Whether the node counts a message as finished for a group.
    func isFinished(_ id: NotificationID, _ name: String, _ channel: Channel) -> Bool {
        guard let shard = node?.shard, let place = id.place(key: shard.log.identity.key),
            let group = shard.state.group(named: name, on: channel.topic),
            let index = group.index(of: place.stream)
        else { return false }
        return group.streams[index].progress.isDone(place.offset)
    }

    /// P3 at the end: a group did without no more messages than its node says that it lost to retention.
    func checkExcuses(of name: String, _ channel: Channel) {
        guard let group = node?.shard.state.group(named: name, on: channel.topic) else { return }
        let missed = witness.unsettled(of: name, channel) {
            witness.isOlder($0, than: name, channel)
        }
        .filter { isExcused($0, name, channel) }
        if missed.count > group.expired {
            witness.note(
                "P3",
                "group \(name) did without \(missed.count) messages and lost \(group.expired)"
            )
        }
    }

    /// What the node keeps of the log, at the end of its life.
    func seeRetention(_ shard: Shard) {
        if shard.log.firstNumber > 0 { witness.hasReleased = true }
        coverage.saw(.segmentReleased, Int(shard.statistics.releases))
        coverage.saw(
            .recordEvacuated,
            Int(shard.state.book.evacuated - min(evacuated, shard.state.book.evacuated))
        )
        evacuated = max(evacuated, shard.state.book.evacuated)
        let lost = shard.state.groups.reduce(0) { $0 + $1.expired }
        coverage.saw(.groupLostItsShare, Int(lost - min(expired, lost)))
        expired = max(expired, lost)
    }

    /// P7: the segment book, which the fold keeps by counting, is what groups and rows say.
    func checkBook(_ shard: Shard) {
        do throws(ShardError) {
            if let fault = try shard.bookFault() { witness.note("P7", fault) }
        } catch {
            // The process is dying: asked again in its next life.
        }
    }

    /// A provider is called for a record that lives in a row.
    func seeKept(_ id: NotificationID) {
        guard let shard = node?.shard, let place = id.place(key: shard.log.identity.key) else {
            return
        }
        if place.offset < shard.state.book.keptBelow(place.stream) {
            coverage.saw(.evacuatedDelivered)
        }
    }
}

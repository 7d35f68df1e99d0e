// Why a shard cannot go on, or cannot serve one request: nothing here is the peer's fault.

package import PulseCore
package import PulseLog

package enum ShardError: Error, Sendable, CustomStringConvertible {
    case log(LogError)
    case storage(StorageError)
    case state(StateError)
    /// The store says it has applied more of the log than there is.
    case storeAhead(applied: LogPosition, end: LogPosition)
    /// The store belongs to another log.
    case foreignStore
    /// The store has lost its state and the log no longer reaches back to the beginning.
    case storeLost(first: LogPosition)
    /// The store stands at a place that the log does not have any more.
    case storeBehind(applied: LogPosition, first: LogPosition)
    case unreadableCheckpoint
    /// A newer Pulse wrote the store.
    case newerStore(part: String, found: Int, supported: Int)
    /// The notification was accepted, and a repair has given it up.
    case lost(NotificationID)

    /// Whether the state store is broken, as opposed to belonging to something else: a log that reaches
    /// back to its beginning can make it again.
    package var isBrokenStore: Bool {
        switch self {
        case .storage(let error): if case .damaged = error.reason { true } else { false }
        case .unreadableCheckpoint: true
        case .log, .state, .storeAhead, .foreignStore, .storeLost, .storeBehind, .newerStore, .lost:
            false
        }
    }

    package var description: String {
        switch self {
        case .log(let error): "\(error)"
        case .storage(let error): "\(error)"
        case .state(let error): "\(error)"
        case .storeAhead(let applied, let end):
            "the state store has applied the log up to \(applied.rawValue), but the log ends at "
                + "\(end.rawValue): the two do not belong to the same moment"
        case .foreignStore: "the state store belongs to another log"
        case .storeLost(let first):
            "the state store is empty, but the log begins at \(first.rawValue): state from before "
                + "that cannot be rebuilt. Restore the state store from a copy, or the whole data "
                + "directory from a backup"
        case .storeBehind(let applied, let first):
            "the state store stands at \(applied.rawValue), but the log begins at "
                + "\(first.rawValue): what lies between is lost to it. Restore the state store from a "
                + "copy that is newer, or the whole data directory from a backup"
        case .lost(let id): "notification \(id) is lost: a repair has given it up"
        case .unreadableCheckpoint: "the state store's checkpoint cannot be read"
        case .newerStore(let part, let found, let supported):
            "the state store's \(part) have format \(found), this program reads up to \(supported); "
                + "start a newer Pulse"
        }
    }
}

extension ShardError {
    /// The code with which one request is refused, because everything else can be served: it is about
    /// what cannot be read or was given up, or there is no room for it. Nil when the shard cannot go on.
    package var refusal: ErrorCode? {
        switch self {
        case .log(.damaged), .log(.missing), .log(.noEntry): .dataCorrupt
        case .log(.diskFull): .diskFull
        case .lost: .dataLost
        default: nil
        }
    }

    /// What to tell of one refused request: for what cannot be read file, byte and positions.
    package var refusalDetail: String? {
        switch self {
        case .log(.damaged(let range)): "\(range)"
        case .log(.missing), .log(.noEntry), .lost: "\(self)"
        default: nil
        }
    }

    /// What was asked about cannot be read.
    package var isUnreadable: Bool { refusal == .dataCorrupt }

    /// What the process ends with that cannot go on, at its start or later: 65 data, 70 storage, 75 no
    /// room (spec/06-errors.md).
    package var exitCode: Int32 {
        switch self {
        case .log(.diskFull): 75
        case .storage(let failure), .log(.storage(let failure)):
            failure.reason == .noSpace ? 75 : 70
        default: 65
        }
    }
}

/// Runs a log operation and says its failure as the shard's.
func fromLog<T>(_ operation: () throws(LogError) -> T) throws(ShardError) -> T {
    do throws(LogError) { return try operation() } catch { throw .log(error) }
}

/// Runs a storage operation and says its failure as the shard's.
func fromStore<T>(_ operation: () throws(StorageError) -> T) throws(ShardError) -> T {
    do throws(StorageError) { return try operation() } catch { throw .storage(error) }
}

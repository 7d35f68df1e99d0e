// Slow work that the log asks for and somebody else performs, off the thread that serves.

package import PulseCore

/// A piece of background work of the log. Performed by calling ``perform(in:)`` on any thread; the
/// result goes back to the log as an input.
package enum LogJob: Sendable {
    /// Make a spare segment: zero-filled, synced, under its final spare name.
    case prepareSpare(name: String, bytes: Int)

    package func perform(in directory: any LogDirectory) throws(StorageError) {
        switch self {
        case .prepareSpare(let name, let bytes):
            let temporary = name + ".tmp"
            let file = try directory.create(temporary, bytes: bytes, written: true)
            try file.sync()
            try directory.rename(temporary, to: name)
            try directory.syncDirectory()
        }
    }
}

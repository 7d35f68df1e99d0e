// What of a world takes part in a run. Everything is drawn all the same, so that leaving out a fault or
// a client moves as little as possible of the rest.

/// The whole world, or a part of it that still shows a failure.
package struct RunOptions: Sendable, Equatable {
    /// Numbers of the faults that happen, counted from 1; nil for all.
    package var faults: Set<Int>?
    /// Numbers of the clients that take part, counted from 0; nil for all. The first, who saves the
    /// templates, always does.
    package var clients: Set<Int>?
    /// Submissions from this number on are left out.
    package var submissionsMax: Int?
    /// The run ends after this event.
    package var untilEvent: Int?
    /// Leaves out what was added to worlds later: buggify, disk faults, damage. Seeds of old stay
    /// the same runs.
    package var isPlain = false
    /// No world keeps little: seeds from before retention was drawn stay the same runs.
    package var keepsAll = false

    /// Nobody cancels, and the disk is never nearly full: seeds from before that stay the same runs.
    package var leavesOutInputs = false
    /// The log of a stopped node is damaged and repaired now and then: asked for by name as long as it
    /// finds what is not mended.
    package var repairs = false

    package init() {}

    package static var plain: RunOptions {
        var options = RunOptions()
        options.isPlain = true
        return options
    }

    package static var withoutInputs: RunOptions {
        var options = RunOptions()
        options.leavesOutInputs = true
        return options
    }

    package static var keepingAll: RunOptions {
        var options = RunOptions()
        options.keepsAll = true
        return options
    }

    /// Whether what was added last takes part.
    var hasInputs: Bool { !isPlain && !keepsAll && !leavesOutInputs }

    /// As arguments of pulse-sim.
    package var arguments: String {
        var text = ""
        func list(_ numbers: Set<Int>) -> String {
            numbers.isEmpty
                ? "none" : numbers.sorted().map { "\($0)" }.joined(separator: ",")
        }
        if let faults { text += " --faults \(list(faults))" }
        if let clients { text += " --clients \(list(clients))" }
        if let submissionsMax { text += " --submissions \(submissionsMax)" }
        if let untilEvent { text += " --until \(untilEvent)" }
        if isPlain { text += " --plain" }
        if keepsAll { text += " --keep-all" }
        if leavesOutInputs { text += " --no-inputs" }
        if repairs { text += " --repairs" }
        return text
    }
}

// Which lane is served next, and why that is fair.
//
// Deficit round robin over the lanes that have something to give: a lane's turn grants it as many
// messages as its weight (16:8:4:1), then the next lane with work has its turn. `critical` is strict
// before all others while it holds less than 60 % of the slots; above that it takes its turn like the
// rest. So a lane with work gets at least weight / (16+8+4+1) of what the others leave: bulk always
// moves.
//
// Source: Shreedhar and Varghese, "Efficient Fair Queueing Using Deficit Round Robin", 1995, with
// every message costing one.

package import PulseCore

package struct LaneScheduler: Sendable {
    package static let weights: [Int] = [16, 8, 4, 1]

    private var current = 0
    private var remaining = LaneScheduler.weights[0]

    package init() {}

    /// The lane to take the next message from.
    ///
    /// - Parameters:
    ///   - ready: Bit *n* is set when lane *n* has a message.
    ///   - criticalMayBeStrict: Whether `critical` holds less than its share of the slots.
    package mutating func next(ready: UInt8, criticalMayBeStrict: Bool) -> Lane? {
        guard ready & 0xF != 0 else { return nil }
        if criticalMayBeStrict, ready & 1 != 0 { return .critical }
        while ready >> UInt8(current) & 1 == 0 || remaining == 0 {
            current = (current + 1) % Self.weights.count
            remaining = Self.weights[current]
        }
        remaining -= 1
        return Lane(rawValue: UInt8(current))
    }
}

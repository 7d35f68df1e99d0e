// Deliberate mistakes, by which the checkers are checked: a simulator that finds none of them proves
// nothing when it finds nothing. spec/09-simulation.md has the list.
//
// Only a build with `-DMUTANTS` contains them. In every other one ``isOn(_:)`` is the constant false, so
// that neither a branch nor a name is left of the places that ask:
//
//     if Mutant.isOn(.answerBeforeSync) { ... }

/// One mistake that some place in the code can be told to make.
package struct Mutant: Hashable, Sendable {
    package let number: UInt8

    @inlinable package init(_ number: UInt8) { self.number = number }

    #if MUTANTS
    /// The one mistake this process makes. Set once, before anything else runs.
    nonisolated(unsafe) package static var chosen: Mutant?

    @inlinable @inline(__always)
    package static func isOn(_ mutant: Mutant) -> Bool { chosen == mutant }
    #else
    @inlinable @inline(__always)
    package static func isOn(_ mutant: Mutant) -> Bool { false }
    #endif
}

extension Mutant {
    // B1: answered before it is durable.
    @inlinable package static var answerBeforeSync: Mutant { Mutant(1) }
    // B12: idempotency keys.
    @inlinable package static var skipDeduplication: Mutant { Mutant(2) }
    // B14: what waits for a time.
    @inlinable package static var forgetWheel: Mutant { Mutant(3) }
}

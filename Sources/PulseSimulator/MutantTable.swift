// The deliberate mistakes by name: what each breaks, and who is expected to find it. Only in a build
// with `-DMUTANTS`; `Scripts/mutants.sh` walks the table, spec/09-simulation.md shows it.

#if MUTANTS

package import PulseCore

/// One row.
package struct MutantRow: Sendable {
    package enum Hunter: String, Sendable {
        /// Whole worlds: `pulse-sim --seeds`.
        case world
        /// The storage alone: `pulse-sim torture`.
        case torture
    }

    package var name: String
    package var mutant: Mutant
    /// The bug class of the reliability notes that it stands for.
    package var bugClass: String
    package var hunter: Hunter
    /// Seeds in which it is found at the latest when the quick form runs; 0 leaves it to the full form.
    package var quickSeeds: Int
    package var mistake: String

    init(
        _ name: String,
        _ mutant: Mutant,
        _ bugClass: String,
        by hunter: Hunter = .world,
        within quickSeeds: Int = 40,
        _ mistake: String
    ) {
        self.name = name
        self.mutant = mutant
        self.bugClass = bugClass
        self.hunter = hunter
        self.quickSeeds = quickSeeds
        self.mistake = mistake
    }
}

extension Mutant {
    package static var table: [MutantRow] {
        [
            MutantRow(
                "answer-before-sync",
                .answerBeforeSync,
                "B1",
                "answers do not wait for the sync"
            ),
            MutantRow("skip-deduplication", .skipDeduplication, "B12", "keys are not looked up"),
            MutantRow("forget-wheel", .forgetWheel, "B14", "the timing wheel is not laid out anew"),
        ]
    }

    package static func named(_ name: String) -> Mutant? {
        table.first { $0.name == name }?.mutant
    }
}

#endif

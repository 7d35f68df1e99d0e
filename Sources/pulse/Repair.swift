// `pulse repair DIR`: tells what of a damaged log would be given up, and gives it up when told to.

import PulseBroker
import PulseCore
import PulseIO
import PulseLog
import PulseServer

enum Repair {
    static let flags = [
        Flag("--accept-loss", "Write the damaged files anew, with gaps where entries are lost")
    ]

    /// sysexits.h: the data is damaged.
    private static let damaged: Int32 = 65

    static func perform(_ invocation: Invocation) throws(CommandFailure) -> Int32 {
        let root = invocation.arguments[0]
        let path = DataDirectory.logPath(root)
        guard Path.isDirectory(path) else {
            throw CommandFailure(ExitCode.notFound, "not_found", "\(root) is not a data directory")
        }
        do throws(DataDirectory.Refusal) {
            try DataDirectory.refuseForeign(root)
        } catch { throw .failed("\(error)") }
        let lock: DirectoryLock
        do throws(DirectoryRefusal) {
            lock = try DirectoryLock(path: root)
        } catch { throw .failed("\(error); a repair needs the directory for itself") }
        defer { withExtendedLifetime(lock) {} }
        let names = (try? Path.names(in: path)) ?? []
        guard names.contains(where: { $0.hasSuffix(".seg") }) else {
            throw CommandFailure(
                damaged,
                "damaged",
                "there is no segment in \(path): a repair has nothing to go by. Is a disk not mounted?"
                    + " Restore the log from a copy"
            )
        }
        let plan: RepairPlan
        var kept: [String] = []
        let accepts = invocation.has("--accept-loss")
        do {
            let log = try DiskDirectory(opening: path)
            plan = try LogRepair.plan(log, reach(root))
            if accepts, !plan.isClean {
                let now = SystemClocks.now().wall
                kept = try LogRepair.perform(
                    plan,
                    in: log,
                    trash: try DiskDirectory.create(at: root + "/trash"),
                    stamp: stamp(now),
                    at: now
                )
            }
        } catch { throw .failed("\(error)") }
        show(plan, kept, isDone: accepts, as: invocation.format, root)
        return plan.isClean || accepts ? ExitCode.success : damaged
    }

    /// How far the state store has taken the log in: entries it knows of were promised. Nil when there is
    /// none, or it cannot be read, which is told.
    private static func reach(_ root: String) -> StoreReach? {
        let path = root + "/state"
        guard Path.isDirectory(path) else { return nil }
        do {
            return try Shard.reach(of: try RocksReader(path: path))
        } catch {
            Console.note(
                "the state store cannot be read: what only it knows of is not asked: \(error)"
            )
            return nil
        }
    }

    /// `20261120T133502Z`.
    private static func stamp(_ time: WallTimestamp) -> String {
        String(time.rfc3339.prefix(19).filter { $0 != "-" && $0 != ":" }) + "Z"
    }

    private static func show(
        _ plan: RepairPlan,
        _ kept: [String],
        isDone: Bool,
        as format: OutputFormat,
        _ root: String
    ) {
        switch format {
        case .table:
            for line in plan.lines { Console.print(Console.safe(line)) }
            if plan.isClean { return }
            for name in kept { Console.print("kept the old file as trash/\(name)") }
            Console.print(
                isDone
                    ? "repaired: the gaps are part of the log now"
                    : "nothing was changed; restore the files from a copy, or give this up with --accept-loss"
            )
        case .json:
            let document = JSON.object([
                ("directory", .text(root)), ("clean", .boolean(plan.isClean)),
                ("repaired", .boolean(isDone && !plan.isClean)),
                ("files", .list(plan.files.map(json))), ("trash", .list(kept.map { .text($0) })),
            ])
            Console.print(document.line)
        }
    }

    private static func json(_ file: RepairPlan.File) -> JSON {
        .object([
            ("name", .text(file.name)), ("faults", .list(file.faults.map { .text($0) })),
            (
                "gaps",
                .list(
                    file.gaps.map { gap in
                        .object([
                            ("from", .number(Int64(clamping: gap.position.rawValue))),
                            ("to", .number(Int64(clamping: gap.to.rawValue))),
                            ("losses", .list(gap.losses.map(json))),
                        ])
                    }
                )
            ),
        ])
    }

    private static func json(_ loss: Gap.Loss) -> JSON {
        .object([
            ("stream", .number(Int64(loss.stream.rawValue))),
            ("first_offset", .number(loss.first.rawValue)),
            ("next_offset", .number(loss.next.rawValue)), ("exact", .boolean(loss.isExact)),
        ])
    }
}

// `pulse inspect DIR`: looks at a data directory and changes nothing.

import PulseCore
import PulseIO
import PulseLog

enum Inspect {
    static let flags = [
        Flag("--verify", "Also check every record batch and every page of the indexes")
    ]

    static func perform(_ invocation: Invocation) throws(CommandFailure) -> Int32 {
        let root = invocation.arguments[0]
        guard Path.isDirectory(root) else {
            throw CommandFailure(ExitCode.notFound, "not_found", "\(root) is not a directory")
        }
        let paths: [String]
        do throws(StorageError) {
            paths = try logs(below: root)
        } catch { throw .failed(error.description) }
        var results: [(path: String, log: LogInspection)] = []
        for path in paths {
            results.append((path, try inspect(path, verify: invocation.has("--verify"))))
        }
        guard !results.isEmpty else {
            throw CommandFailure(
                ExitCode.notFound,
                "not_found",
                "there is no log in \(root): no segment was found"
            )
        }
        let isClean = results.allSatisfy(\.log.isClean)
        switch invocation.format {
        case .table:
            for (path, log) in results {
                Console.print(path)
                for line in log.lines { Console.print("  " + Console.safe(line)) }
            }
        case .json:
            let document = JSON.object([
                ("directory", .text(root)), ("clean", .boolean(isClean)),
                ("logs", .list(results.map { json(of: $0.log, at: $0.path) })),
            ])
            Console.print(document.line)
        }
        return isClean ? ExitCode.success : ExitCode.failed
    }

    /// The directories that hold segments: the one given, or those of its shards.
    private static func logs(below root: String, depth: Int = 0) throws(StorageError) -> [String] {
        var found: [String] = []
        for name in try Path.names(in: root) {
            if name.hasSuffix(".seg") { return [root] }
            let path = root + "/" + name
            if depth < 2, Path.isDirectory(path) {
                found += try logs(below: path, depth: depth + 1)
            }
        }
        return found
    }

    private static func inspect(
        _ path: String,
        verify: Bool
    ) throws(CommandFailure) -> LogInspection {
        let directory: DiskDirectory
        do throws(StorageError) {
            directory = try DiskDirectory(opening: path)
        } catch { throw .failed(error.description) }
        do throws(LogError) {
            return try LogInspector.inspect(directory, verify: verify)
        } catch { throw .failed("\(path): \(error)") }
    }

    private static func json(of log: LogInspection, at path: String) -> JSON {
        .object([
            ("path", .text(path)), ("clean", .boolean(log.isClean)),
            ("verified", .boolean(log.verified)), ("segment_bytes", .number(log.segmentBytes)),
            ("floor", log.floor.map { .number(Int64(clamping: $0.rawValue)) } ?? .null),
            ("spares", .number(log.spares)), ("segments", .list(log.segments.map(json))),
            ("notes", .texts(log.notes)),
            (
                "problems",
                .list(
                    log.problems.map { problem in
                        .object([
                            ("file", .text(problem.file)), ("byte", .number(problem.byte)),
                            ("message", .text(problem.text)),
                        ])
                    }
                )
            ),
        ])
    }

    private static func json(of segment: LogInspection.SegmentLine) -> JSON {
        .object([
            ("name", .text(segment.name)), ("sealed", .boolean(segment.isSealed)),
            ("indexed", .boolean(segment.hasIndex)),
            ("base", .number(Int64(clamping: segment.base.rawValue))),
            ("end", .number(Int64(clamping: segment.end.rawValue))),
            ("used_bytes", .number(segment.usedBytes)),
            ("record_batches", .number(segment.recordBatches)),
            ("records", .number(segment.records)), ("commands", .number(segment.commands)),
            ("first_time", .text(segment.firstWall.rfc3339)),
            ("latest_time", .text(segment.latestWall.rfc3339)),
        ])
    }
}

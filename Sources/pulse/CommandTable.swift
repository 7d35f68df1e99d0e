// Everything the program can do. A command that is not here does not exist; one that is here is parsed,
// helped with and performed from this description alone.

enum CommandTable {
    static let all: [Command] = [
        Command(
            words: ["serve"],
            flags: Serve.flags,
            summary: "Run the broker in the foreground",
            details: """
                Prints "pulse: ready http=HOST:PORT native=HOST:PORT" once it serves. SIGTERM or SIGINT drains:
                nothing new is taken, deliveries under way may end, then it exits with 0; a second signal ends
                it at once. Exits with 2 for a wrong configuration, 65 for data that cannot be read, 70 when
                storage failed, 73 when the data directory cannot be used, 75 when an address cannot be
                listened on, 130 after a second signal.
                """,
            examples: [
                "pulse serve --dev", "pulse serve --config pulse.yaml --data ./pulse-data",
                "pulse serve --http 0.0.0.0:8000 --listen 127.0.0.1:0",
            ],
            action: .local(Serve.perform)
        ),
        Command(
            words: ["send"],
            flags: Send.flags,
            summary: "Send one notification",
            details: """
                Returns when the notification is on stable storage. Name a template with --data for its
                variables, or give the content with --subject, --text and --html.
                """,
            examples: [
                "pulse send --to ada@example.org --template welcome --data name=Ada",
                "pulse send --to +15550100 --text 'Your code is 4711' --lane critical",
                "pulse send --to https://example.org/hook --text ping --key order-17 --deliver-at +15m",
            ],
            action: .remote(Send.perform)
        ),
        Command(
            words: ["status"],
            arguments: [Argument(name: "ID")],
            summary: "Show where a notification stands",
            examples: ["pulse status 01890f5e-7b1c-8cc0-98c4-dc0c0c07398f -o json"],
            action: .remote(Status.perform)
        ),
        Command(
            words: ["template", "put"],
            arguments: [Argument(name: "NAME")],
            flags: Templates.putFlags,
            summary: "Save a template, replacing one of the same name",
            details: "Notifications accepted before keep the text they were accepted with.",
            examples: [
                "pulse template put welcome --channel email --subject 'Hello {{name}}' --text @welcome.txt"
            ],
            action: .remote(Templates.put)
        ),
        Command(
            words: ["template", "ls"],
            summary: "List the templates",
            action: .remote(Templates.list)
        ),
        Command(
            words: ["tail"],
            arguments: [Argument(name: "TOPIC")],
            flags: Tail.flags,
            summary: "Show the newest records of a topic",
            details: """
                TOPIC is notify.email, notify.webhook, notify.sms or notify.push, or the channel's name alone.
                With -o json every record is a document on a line of its own.
                """,
            examples: [
                "pulse tail email -n 20", "pulse tail notify.sms --follow --lane dead -o json",
            ],
            action: .remote(Tail.perform)
        ),
        Command(
            words: ["inspect"],
            arguments: [Argument(name: "DIR")],
            flags: Inspect.flags,
            summary: "Check a data directory without changing it",
            details: """
                DIR is what --data named, or the directory of one log. Shows segments, state, groups, rows and
                files, and with --dump the entries between two positions with what they hold. Works beside a
                running server, whose newest entries may look torn then. Exits with 65 when something does not
                verify: entries, chains and headers always; with --verify every byte that holds data, and
                whether indexes and state are what the log tells; with 77 when this user may not read it.
                """,
            examples: [
                "pulse inspect ./pulse-data --verify",
                "pulse inspect ./pulse-data --dump 4096..8192 -o json",
            ],
            action: .local(Inspect.perform)
        ),
        Command(
            words: ["repair"],
            arguments: [Argument(name: "DIR")],
            flags: Repair.flags,
            summary: "Give up what is damaged in a data directory",
            details: """
                Tells which files are damaged and exactly what is lost with them, and changes nothing: exits
                with 65 when there is damage, 0 when there is none. With --accept-loss the damaged files are
                written anew, with gaps where entries were lost; the old ones are kept in DIR/trash. The broker
                must be stopped.
                """,
            examples: ["pulse repair ./pulse-data", "pulse repair ./pulse-data --accept-loss"],
            action: .local(Repair.perform)
        ),
        Command(
            words: ["disk"],
            arguments: [Argument(name: "DIR", isRequired: false)],
            flags: Disk.flags,
            summary: "Show where the bytes of the disk are, and what keeps them",
            details: """
                Asks a running server over HTTP, or reads the files of DIR, which knows no policy: what is finished
                counts as retained. The pin is the oldest message that is not finished and still in
                a segment of the log: who waits for it, and why it stays.
                """,
            examples: [
                "pulse disk", "pulse disk --http 127.0.0.1:8000 -o json", "pulse disk ./pulse-data",
            ],
            action: .local(Disk.perform)
        ),
        Command(
            words: ["config", "check"],
            arguments: [Argument(name: "FILE")],
            summary: "Check a configuration file",
            details:
                "Reports every mistake at once as file:line:col, also those of PULSE__ variables.",
            examples: ["pulse config check pulse.yaml"],
            action: .local(Config.check)
        ),
        Command(
            words: ["config", "show"],
            flags: ConfigurationFlags.all,
            summary: "Show every setting and where it comes from",
            examples: ["pulse config show --config pulse.yaml -o json"],
            action: .local(Config.show)
        ),
        Command(
            words: ["version"],
            summary: "Show the version",
            action: .local { invocation in
                Console.show(
                    Table(rows: [["pulse \(Version.current)"]]),
                    .object([("version", .text(Version.current))]),
                    as: invocation.format
                )
                return ExitCode.success
            }
        ),
        Command(
            words: ["help"],
            arguments: [Argument(name: "COMMAND", isRequired: false)],
            lastRepeats: true,
            summary: "Explain a command",
            examples: ["pulse help template put"],
            action: .local(Help.perform)
        ),
    ]

    /// What a command line can begin with.
    static let firstWords: [String] = {
        var words: [String] = []
        for command in all where !words.contains(command.words[0]) {
            words.append(command.words[0])
        }
        return words
    }()
}

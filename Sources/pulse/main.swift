// The pulse program: one table of commands (CommandTable.swift) says what there is; this starts it.

import Glibc

exit(Program.run(Array(CommandLine.arguments.dropFirst())))

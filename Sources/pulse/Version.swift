// The version of this program, said by `pulse version` and to everybody it talks to.

enum Version {
    static let current = "0.1.0"
}

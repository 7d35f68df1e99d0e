// A document as lines, for people to read: the path of each value, and the value.

package enum JSONRows {
    /// The values of an object and of the objects in it, in their order; arrays are passed over, and null
    /// is "-". Nil when the text is no JSON.
    package static func of(_ document: String) -> [(path: String, value: String)]? {
        let parser = JSONParser()
        return Array(document.utf8).withUnsafeBytes { bytes in
            do throws(JSONFault) {
                var rows: [(path: String, value: String)] = []
                append(try parser.parse(bytes), "", to: &rows)
                return rows
            } catch { return nil }
        }
    }

    private static func append(
        _ object: JSONValue,
        _ path: String,
        to rows: inout [(path: String, value: String)]
    ) {
        for member in object.members {
            let name = path + String(decoding: member.key, as: UTF8.self)
            switch member.kind {
            case .object: append(member, name + ".", to: &rows)
            case .array: break
            case .null: rows.append((name, "-"))
            case .boolean(let value): rows.append((name, "\(value)"))
            case .number, .string:
                rows.append((name, String(decoding: member.text, as: UTF8.self)))
            }
        }
    }
}

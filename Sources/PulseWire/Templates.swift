// Templates: save one, list all.
//
//     put 0x0B:    template               reply 0x8B: empty, or error invalid_template
//     list 0x0C:   after string16 (empty: from the first)
//     reply 0x8C:  more u8 | count u16 | templates, ordered by name
//
//     template:    name string16 | channel u8 | subject string16 | text string32 | html string32
//
// Empty text or html means the template has none. A list that does not fit a frame says more = 1;
// ask again with the last name.

package import PulseCore

package struct TemplateMessage: Hashable, Sendable {
    package var name: String
    package var channel: Channel
    package var subject: String
    package var text: String
    package var html: String

    package init(
        name: String,
        channel: Channel,
        subject: String = "",
        text: String = "",
        html: String = ""
    ) {
        self.name = name
        self.channel = channel
        self.subject = subject
        self.text = text
        self.html = html
    }

    /// Reads one template frame body.
    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        try self.init(reading: &reader)
        try reader.end()
    }

    init(reading reader: inout BodyReader) throws(WireError) {
        name = try reader.string16("name")
        guard let channel = Channel(rawValue: try reader.u8("channel")) else {
            throw reader.malformed("channel")
        }
        self.channel = channel
        subject = try reader.string16("subject")
        text = try reader.string32("text")
        html = try reader.string32("html")
    }

    /// Bytes this template takes in a frame.
    package var encodedBytes: Int {
        2 + name.utf8.count + 1 + 2 + subject.utf8.count + 4 + text.utf8.count + 4
            + html.utf8.count
    }

    func append(to bytes: inout [UInt8]) {
        bytes.append(string16: name)
        bytes.append(channel.rawValue)
        bytes.append(string16: subject)
        bytes.append(string32: text)
        bytes.append(string32: html)
    }

    /// The put request.
    package func encode(correlation: UInt32, into bytes: inout [UInt8]) {
        let frame = OpenFrame(.putTemplate, correlation: correlation, in: &bytes)
        append(to: &bytes)
        frame.close(in: &bytes)
    }

    package static func encodeReply(correlation: UInt32, into bytes: inout [UInt8]) {
        OpenFrame(.putTemplateReply, correlation: correlation, in: &bytes).close(in: &bytes)
    }
}

package struct ListTemplatesRequest: Hashable, Sendable {
    /// Names after this one; empty from the first.
    package var after: String

    package init(after: String = "") { self.after = after }

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        after = try reader.string16("after")
        try reader.end()
    }

    package func encode(correlation: UInt32, into bytes: inout [UInt8]) {
        let frame = OpenFrame(.listTemplates, correlation: correlation, in: &bytes)
        bytes.append(string16: after)
        frame.close(in: &bytes)
    }
}

package struct ListTemplatesReply: Hashable, Sendable {
    package var templates: [TemplateMessage]
    /// Whether names after the last one exist.
    package var more: Bool

    /// Takes as many of `templates`, already ordered and after the asked name, as fit a frame.
    package init(fitting templates: some Sequence<TemplateMessage>) {
        self.templates = []
        more = false
        var room = Limits.frameBytesMax - Frame.lengthMin - 3
        for template in templates {
            room -= template.encodedBytes
            guard room >= 0, self.templates.count < Int(UInt16.max) else {
                more = true
                return
            }
            self.templates.append(template)
        }
    }

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        switch try reader.u8("more") {
        case 0: more = false
        case 1: more = true
        default: throw reader.malformed("more")
        }
        let count = try reader.u16("count")
        templates = []
        for _ in 0..<count { templates.append(try TemplateMessage(reading: &reader)) }
        try reader.end()
    }

    package func encode(correlation: UInt32, into bytes: inout [UInt8]) {
        let frame = OpenFrame(.listTemplatesReply, correlation: correlation, in: &bytes)
        bytes.append(more ? 1 : 0)
        bytes.append(littleEndian: UInt16(templates.count))
        for template in templates { template.append(to: &bytes) }
        frame.close(in: &bytes)
    }
}

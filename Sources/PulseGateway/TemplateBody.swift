// The body of `PUT /v1/templates/{name}`.

import PulseCore

enum TemplateBody {
    /// Reads a template; what is inside its texts is for the node to check.
    static func request(named path: UnsafeRawBufferPointer, _ root: JSONValue) -> APIRequest {
        var errors: [FieldError] = []
        var draft = TemplateDraft(channel: .email, subject: nil, text: nil, html: nil)
        var hasChannel = false
        var hasText = false
        let name = path.percentDecoded(plusIsSpace: false)
        if !(1...Limits.templateNameBytesMax).contains(name?.utf8.count ?? 0) {
            errors.refuse(
                "name",
                "must have 1 to \(Limits.templateNameBytesMax) bytes of plain UTF-8"
            )
        }
        for member in root.members {
            let key = member.key
            if key.equals("channel") {
                hasChannel = true
                draft.channel = errors.channel(member) ?? .email
            } else if member.isNull,
                key.equals("subject") || key.equals("text")
                    || key.equals("html")
            {
                continue
            } else if key.equals("subject") {
                draft.subject = errors.text(
                    member,
                    "subject",
                    .heading,
                    bytesMax: Limits.subjectBytesMax
                )
            } else if key.equals("text") {
                hasText = true
                draft.text = errors.text(member, "text", .prose, bytesMax: Limits.templateBytesMax)
            } else if key.equals("html") {
                hasText = true
                draft.html = errors.text(member, "html", .prose, bytesMax: Limits.templateBytesMax)
            } else {
                errors.unknown(key.text)
            }
        }
        if !hasChannel { errors.refuse("channel", "is required") }
        if !hasText { errors.refuse("text", "is required, unless there is html") }
        guard errors.isEmpty, let name else { return .answered(.invalid(errors, .v1)) }
        return .putTemplate(name: name, draft)
    }
}

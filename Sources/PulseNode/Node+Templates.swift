// Templates over HTTP: checked, saved, found by name or identifier.

import PulseBroker
import PulseCore
import PulseDelivery
import PulseGateway
import PulseLog

extension Node {
    func putTemplate(
        _ name: String,
        _ draft: TemplateDraft,
        slot: UInt32,
        of conversation: HTTPConversation,
        at now: Now,
        into effects: inout EffectQueue
    ) throws(ShardError) {
        if let obstacle = obstacle(to: .new) {
            let response = refusal(obstacle).response(.v1)
            respond(response, slot: slot, to: conversation, into: &effects)
            return
        }
        let row = TemplateRow(
            name: name,
            channel: draft.channel,
            subject: draft.subject ?? "",
            text: draft.text ?? "",
            html: draft.html ?? "",
            savedAt: now.wall
        )
        if let problem = problem(of: row) {
            respond(.invalid([problem], .v1), slot: slot, to: conversation, into: &effects)
            return
        }
        let created = shard.revisionInForce(of: name) == nil
        let taken = try unlessRefused { () throws(ShardError) in
            try self.shard.put(row, at: now)
        }
        switch taken {
        case .failure(let refusal):
            respond(refusal.response(.v1), slot: slot, to: conversation, into: &effects)
        case .success(let saved):
            let response = HTTPResponse.template(view(saved.revision), created: created, .v1)
            let durableAt = Mutant.isOn(.templateBeforeSync) ? .zero : saved.durableAt
            wait(.http(conversation.id, slot: slot, response), durableAt: durableAt)
        }
    }

    /// What keeps a template from being saved, or nil.
    func problem(of row: TemplateRow) -> FieldError? {
        let name = row.name.utf8
        guard (1...Limits.templateNameBytesMax).contains(name.count),
            !name.contains(where: { $0 < 0x20 || $0 == 0x7F })
        else {
            return FieldError(
                field: "name",
                code: .validationFailed,
                message: "a name has 1 to \(Limits.templateNameBytesMax) bytes of plain text"
            )
        }
        do {
            _ = try Template(row.source)
            return nil
        } catch {
            return FieldError(
                field: error.field,
                code: .invalidTemplate,
                message: "\(error)"
            )
        }
    }

    /// A template by its name or by its identifier.
    func findTemplate(_ text: String) -> TemplateRevision? {
        if let found = shard.templates.revision(named: text) { return found }
        guard NotificationID(text) != nil else { return nil }
        let wanted = text.lowercased()
        return shard.templates.newest.first { templateID($0.row.name) == wanted }
    }
}

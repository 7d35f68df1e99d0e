// The door: what a request must be before it gets a place in the log. Everything wrong is found at once.

import PulseBroker
import PulseCore
import PulseDelivery
import PulseGateway

/// A notification that passed, in the form in which it is stored.
struct AdmittedNotification {
    var channel: Channel
    var lane: Lane
    var user: [UInt8]
    var envelope: [UInt8]
    var idempotencyKey: [UInt8]?
}

/// What the checks need to know of a template.
struct KnownTemplate {
    var channel: Channel
    var variables: [String]
}

enum Admission {
    /// Checks a submission of the HTTP interface; its structure was checked by the gateway.
    static func admit(
        _ submission: Submission,
        template: KnownTemplate?
    ) -> Result<AdmittedNotification, FieldErrors> {
        var errors = submission.errors
        let isCompatible = submission.dialect == .compatible
        if let name = submission.template {
            if let template {
                let missing = template.variables.filter { variable in
                    !submission.data.contains { $0.name == variable }
                }
                for name in missing {
                    errors.append(
                        FieldError(
                            field: isCompatible ? "context" : "data.\(name)",
                            code: .missingVariable,
                            message: "missing template variable: '\(name)'"
                        )
                    )
                }
            } else if !errors.contains(where: { $0.field == "template" }) {
                errors.append(
                    FieldError(
                        field: isCompatible ? "template_name" : "template",
                        code: .unknownTemplate,
                        message: isCompatible
                            ? "Template not found" : "there is no template named \"\(name)\""
                    )
                )
            }
        }
        guard let channel = submission.channel ?? template?.channel ?? inferredChannel(submission)
        else {
            if errors.isEmpty {
                errors.append(
                    FieldError(
                        field: "channel",
                        code: .validationFailed,
                        message: "is needed when neither a template nor 'to' tells it"
                    )
                )
            }
            return .failure(FieldErrors(errors))
        }
        let address = address(of: submission, on: channel)
        if let address {
            if let problem = Address.problem(channel, address.text, lenient: isCompatible) {
                errors.append(
                    FieldError(field: address.field, code: .invalidAddress, message: problem)
                )
            }
        } else if !errors.contains(where: { $0.field == "to" || $0.field.hasPrefix("to.") }) {
            errors.append(
                FieldError(
                    field: "to",
                    code: .invalidAddress,
                    message: "has no address for channel \(channel.name)"
                )
            )
        }
        if submission.template == nil { checkContent(submission, channel, &errors) }
        guard errors.isEmpty, let address else { return .failure(FieldErrors(errors)) }
        return .success(store(submission, channel, address.text))
    }

    /// Several field errors as one thrown value.
    struct FieldErrors: Error {
        var all: [FieldError]
        init(_ all: [FieldError]) { self.all = all }
    }

    private static func checkContent(
        _ submission: Submission,
        _ channel: Channel,
        _ errors: inout [FieldError]
    ) {
        let hasBody =
            !(submission.text ?? "").isEmpty
            || channel == .email && !(submission.html ?? "").isEmpty
        guard !errors.contains(where: { $0.field.hasPrefix("content") || $0.field == "template" })
        else { return }
        if !hasBody {
            errors.append(
                FieldError(
                    field: "content",
                    code: .validationFailed,
                    message: channel == .email
                        ? "needs text or html" : "needs text for channel \(channel.name)"
                )
            )
        }
        if channel == .email, (submission.subject ?? "").isEmpty {
            errors.append(
                FieldError(
                    field: "content.subject",
                    code: .validationFailed,
                    message: "is needed for channel email"
                )
            )
        }
    }

    private static func inferredChannel(_ submission: Submission) -> Channel? {
        let given: [(Channel, String?)] = [
            (.email, submission.email), (.sms, submission.phone), (.push, submission.pushToken),
            (.webhook, submission.url),
        ]
        let present = given.filter { $0.1 != nil }
        return present.count == 1 ? present[0].0 : nil
    }

    private static func address(
        of submission: Submission,
        on channel: Channel
    ) -> (field: String, text: String)? {
        let typed: (String, String?) =
            switch channel {
            case .email: ("to.email", submission.email)
            case .sms: ("to.phone", submission.phone)
            case .push: ("to.push_token", submission.pushToken)
            case .webhook: ("to.url", submission.url)
            }
        if let text = typed.1 { return (typed.0, text) }
        return submission.address.map { ("to", $0) }
    }

    /// Writes the envelope. The order of fields is fixed, so that the same request gives the same bytes:
    /// that is how a repeat is told from a conflict.
    private static func store(
        _ submission: Submission,
        _ channel: Channel,
        _ address: String
    ) -> AdmittedNotification {
        let user = submission.user ?? address
        var envelope = EnvelopeWriter()
        envelope.append(.user, user)
        envelope.append(.address, address)
        if let text = submission.template { envelope.append(.template, text) }
        if let text = submission.subject { envelope.append(.subject, text) }
        if let text = submission.text { envelope.append(.text, text) }
        if let text = submission.html { envelope.append(.html, text) }
        if let text = submission.title { envelope.append(.title, text) }
        if let text = submission.deviceToken { envelope.append(.deviceToken, text) }
        if let text = submission.idempotencyKey { envelope.append(.idempotencyKey, text) }
        for datum in submission.data { envelope.append(datum: datum.name, datum.value) }
        if let time = submission.deliverAt { envelope.append(deliverAt: time) }
        if let lane = submission.lane { envelope.append(.requestedLane, byte: lane.rawValue) }
        return AdmittedNotification(
            channel: channel,
            lane: LaneRule.lane(template: submission.template, requested: submission.lane),
            user: Array(user.utf8),
            envelope: envelope.bytes,
            idempotencyKey: submission.idempotencyKey.map { Array($0.utf8) }
        )
    }

    // MARK: - Records of the native protocol

    /// What is wrong with one record, or nil. The record's bytes are stored as they are.
    static func problem(
        key: UnsafeRawBufferPointer?,
        envelope: Envelope,
        channel: Channel,
        template: KnownTemplate?
    ) -> FieldError? {
        func wrong(_ field: String, _ code: ErrorCode, _ message: String) -> FieldError {
            FieldError(field: field, code: code, message: message)
        }
        guard let user = envelope.user, !user.isEmpty, user.count <= Limits.userBytesMax else {
            return wrong("user", .validationFailed, "needs 1 to \(Limits.userBytesMax) bytes")
        }
        guard let key, key.elementsEqual(user) else {
            return wrong("key", .validationFailed, "the record's key must be the user")
        }
        guard let address = envelope.address else {
            return wrong("address", .invalidAddress, "is missing")
        }
        if let problem = Address.problem(channel, address.text) {
            return wrong("address", .invalidAddress, problem)
        }
        if let own = envelope.idempotencyKey,
            own.isEmpty || own.count > Limits.idempotencyKeyBytesMax
        {
            return wrong(
                "idempotency_key",
                .validationFailed,
                "needs 1 to \(Limits.idempotencyKeyBytesMax) bytes"
            )
        }
        guard envelope.data.count <= Limits.dataFieldsMax else {
            return wrong("data", .validationFailed, "more than \(Limits.dataFieldsMax) variables")
        }
        if let name = envelope.template {
            guard let template else {
                return wrong(
                    "template",
                    .unknownTemplate,
                    "there is no template named \"\(name.text)\""
                )
            }
            for variable in template.variables
            where !envelope.data.contains(where: { $0.name.text == variable }) {
                return wrong(
                    "data.\(variable)",
                    .missingVariable,
                    "missing template variable: '\(variable)'"
                )
            }
            return nil
        }
        let hasText = !(envelope.text ?? UnsafeRawBufferPointer(start: nil, count: 0)).isEmpty
        let hasHTML = !(envelope.html ?? UnsafeRawBufferPointer(start: nil, count: 0)).isEmpty
        guard hasText || channel == .email && hasHTML else {
            return wrong("text", .validationFailed, "a notification needs a template or content")
        }
        if channel == .email, (envelope.subject?.isEmpty ?? true) {
            return wrong("subject", .validationFailed, "is needed for channel email")
        }
        return nil
    }
}

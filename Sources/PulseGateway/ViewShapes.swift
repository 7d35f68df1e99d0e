// The JSON of notifications and templates in each dialect.

import PulseCore

extension [UInt8] {
    mutating func append<Value>(
        jsonArray values: [Value],
        _ write: (Value, inout [UInt8]) -> Void
    ) {
        append("[")
        for (index, value) in values.enumerated() {
            if index > 0 { append(",") }
            write(value, &self)
        }
        append("]")
    }
}

extension NotificationView {
    func write(to body: inout [UInt8], withHistory: Bool) {
        body.append("{\"id\":\"")
        id.append(to: &body)
        body.append("\",\"status\":")
        body.append(json: state.name)
        body.append(",\"user\":")
        body.append(json: user)
        body.append(",\"template\":")
        body.append(json: template)
        body.append(",\"channel\":")
        body.append(json: channel.name)
        body.append(",\"to\":")
        body.append(json: to)
        body.append(",\"lane\":")
        body.append(json: lane.name)
        body.append(",\"attempts\":")
        body.append(decimal: attempts)
        body.append(",\"attempts_max\":")
        body.append(decimal: attemptsMax)
        body.append(",\"created_at\":")
        body.append(json: createdAt)
        body.append(",\"sent_at\":")
        body.append(json: sentAt)
        body.append(",\"last_attempt_at\":")
        body.append(json: lastAttemptAt)
        body.append(",\"next_attempt_at\":")
        body.append(json: nextAttemptAt)
        body.append(",\"error\":")
        body.append(json: error)
        body.append(",\"idempotency_key\":")
        body.append(json: idempotencyKey)
        if isUncertain { body.append(",\"uncertain\":true") }
        if withHistory {
            body.append(",\"history\":")
            body.append(jsonArray: history) { event, body in
                body.append("{\"at\":")
                body.append(json: event.at)
                body.append(",\"what\":")
                body.append(json: event.what)
                body.append(",\"detail\":")
                body.append(json: event.detail)
                body.append("}")
            }
        }
        body.append("}")
    }

    /// System 000's shape; `whole` for a status answer, which has six fields more than a list's row. On a
    /// damaged log both say when the status may be another by now: what an old client does not know it
    /// passes over.
    func writeCompatible(to body: inout [UInt8], whole: Bool) {
        body.append("{\"notification_id\":\"")
        id.append(to: &body)
        body.append("\",\"user_id\":")
        body.append(json: user)
        body.append(",\"template_name\":")
        body.append(json: template)
        body.append(",\"channel\":")
        body.append(json: channel.name)
        body.append(",\"to\":")
        body.append(json: to)
        body.append(",\"status\":")
        body.append(json: state.compatible(attempts: attempts).rawValue)
        body.append(",\"attempts\":")
        body.append(decimal: attempts)
        if whole {
            body.append(",\"max_retries\":")
            body.append(decimal: attemptsMax)
        }
        body.append(",\"created_at\":")
        body.append(json: createdAt)
        body.append(",\"sent_at\":")
        body.append(json: sentAt)
        if whole {
            body.append(",\"last_attempt_at\":")
            body.append(json: lastAttemptAt)
            body.append(",\"next_retry_at\":")
            body.append(json: nextAttemptAt)
            body.append(",\"error_message\":")
            body.append(json: error)
            // Always empty: how a provider is reached is nobody's business but the server's.
            body.append(",\"provider_config\":{},\"idempotency_key\":")
            body.append(json: idempotencyKey)
        } else if isUncertain {
            body.append(",\"error_message\":")
            body.append(json: error)
        }
        if isUncertain { body.append(",\"uncertain\":true") }
        body.append("}")
    }
}

extension TemplateView {
    func write(to body: inout [UInt8]) {
        body.append("{\"name\":")
        body.append(json: name)
        body.append(",\"id\":")
        body.append(json: id)
        body.append(",\"channel\":")
        body.append(json: channel.name)
        body.append(",\"subject\":")
        body.append(json: subject)
        body.append(",\"text\":")
        body.append(json: text)
        body.append(",\"html\":")
        body.append(json: html)
        body.append(",\"created_at\":")
        body.append(json: createdAt)
        body.append(",\"revision\":")
        body.append(decimal: revision)
        if isUncertain { body.append(",\"uncertain\":true") }
        body.append("}")
    }

    func writeCompatible(to body: inout [UInt8]) {
        body.append("{\"id\":")
        body.append(json: id)
        body.append(",\"name\":")
        body.append(json: name)
        body.append(",\"channel\":")
        body.append(json: channel.name)
        body.append(",\"subject\":")
        body.append(json: subject ?? "")
        body.append(",\"body_template\":")
        body.append(json: text ?? html ?? "")
        body.append(",\"created_at\":")
        body.append(json: createdAt)
        if isUncertain { body.append(",\"uncertain\":true") }
        body.append("}")
    }
}

// The providers of the channels: which keys belong together and which exclude each other.

internal import PulseDelivery

extension Configuration {
    static func providers(
        of settings: inout ConfigurationSettings,
        dev: Bool,
        readSecret: (String) -> [UInt8]?
    ) -> ProviderSettings {
        var providers = dev ? ProviderSettings.catchers : ProviderSettings()
        switch kind(.emailKind, of: "providers.email", &settings) {
        case "smtp": providers.email = smtp(&settings, readSecret) ?? .none
        case "catcher": providers.email = .catcher
        default: break
        }
        switch kind(.webhookKind, of: "providers.webhook", &settings) {
        case "http":
            providers.webhook = .http(
                allowsPrivateAddresses: settings.boolean(.webhookAllowPrivate),
                timeoutMilliseconds: settings.number(.webhookTimeout)
            )
        case "catcher": providers.webhook = .catcher
        default: break
        }
        if kind(.smsKind, of: "providers.sms", &settings) != nil { providers.sms = .catcher }
        if kind(.pushKind, of: "providers.push", &settings) != nil { providers.push = .catcher }
        return providers
    }

    /// The provider's kind. Without one the section's other keys would have no effect: an error.
    private static func kind(
        _ key: ConfigurationKey,
        of section: String,
        _ settings: inout ConfigurationSettings
    ) -> String? {
        if let kind = settings.text(key) { return kind }
        let others = ConfigurationKey.allCases.filter { $0.path.hasPrefix(section + ".") }
        // A kind that was refused has been told already.
        if !settings.refused.contains(key), others.contains(where: settings.isSet) {
            settings.refuse(settings.origin(ofSection: section), "\(section) needs a kind")
        }
        return nil
    }

    private static func smtp(
        _ settings: inout ConfigurationSettings,
        _ readSecret: (String) -> [UInt8]?
    ) -> ProviderSettings.Email? {
        let host = required(.emailHost, &settings)
        let from = required(.emailFrom, &settings).flatMap { Mailbox($0) }
        let security =
            settings.text(.emailTLS).flatMap(SMTPEndpoint.Security.init(rawValue:)) ?? .starttls
        let credentials = credentials(&settings, security, readSecret)
        guard let host, let from else { return nil }
        // The submission ports of RFC 8314 and the relay port of RFC 5321.
        let standardPort: Int64 =
            switch security {
            case .none: 25
            case .starttls: 587
            case .implicit: 465
            }
        let port = UInt16(settings.optionalNumber(.emailPort) ?? standardPort)
        return .smtp(
            SMTPEndpoint(host: host, port: port, security: security, credentials: credentials),
            from: from,
            timeoutMilliseconds: settings.number(.emailTimeout)
        )
    }

    private static func required(
        _ key: ConfigurationKey,
        _ settings: inout ConfigurationSettings
    ) -> String? {
        if let text = settings.text(key) { return text }
        if !settings.refused.contains(key) {
            settings.refuse(settings.origin(.emailKind), "kind smtp needs \(key.path)")
        }
        return nil
    }

    private static func credentials(
        _ settings: inout ConfigurationSettings,
        _ security: SMTPEndpoint.Security,
        _ readSecret: (String) -> [UInt8]?
    ) -> (user: String, password: String)? {
        let secrets: [ConfigurationKey] = [.emailPassword, .emailPasswordFile]
        let given = secrets.filter { settings.isSet($0) || settings.refused.contains($0) }
        guard let user = settings.text(.emailUser) else {
            if let secret = given.first, !settings.refused.contains(.emailUser) {
                settings.refuse(
                    settings.origin(secret),
                    "\(secret.path) needs providers.email.user"
                )
            }
            return nil
        }
        if security == .none {
            settings.refuse(
                settings.origin(.emailUser),
                "providers.email.user with tls none would send the password in the clear; set "
                    + "providers.email.tls to starttls or implicit"
            )
        }
        if !settings.refused.isDisjoint(with: secrets) { return nil }
        // A password in the environment replaces a password_file in the file, and the reverse.
        let word = settings.origin(.emailPassword).order.0
        let name = settings.origin(.emailPasswordFile).order.0
        if given.count > 1, word == name {
            settings.refuse(
                settings.origin(.emailPasswordFile),
                "set either providers.email.password or providers.email.password_file, not both"
            )
            return nil
        }
        if word > name, let password = settings.text(.emailPassword) { return (user, password) }
        guard let file = settings.text(.emailPasswordFile) else {
            settings.refuse(
                settings.origin(.emailUser),
                "providers.email.user needs providers.email.password or password_file"
            )
            return nil
        }
        guard let password = readSecret(file).flatMap(secret(from:)) else {
            settings.refuse(
                settings.origin(.emailPasswordFile),
                "providers.email.password_file: cannot read a password from \"\(file)\""
            )
            return nil
        }
        return (user, password)
    }

    /// The content of a secret's file without the line end that editors leave.
    private static func secret(from bytes: [UInt8]) -> String? {
        var bytes = bytes[...]
        while bytes.last == 10 || bytes.last == 13 { bytes.removeLast() }
        guard !bytes.isEmpty, let text = String(validating: bytes, as: UTF8.self),
            text.utf8.allSatisfy({ $0 >= 0x20 })
        else { return nil }
        return text
    }
}

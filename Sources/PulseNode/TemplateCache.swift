// Compiled templates: the newest revision of each, and the few older ones that messages still ask for.

import PulseBroker
import PulseCore
import PulseDelivery

struct TemplateCache {
    private struct Key: Hashable {
        var name: String
        var position: LogPosition
    }

    private var compiled: [Key: Template] = [:]
    /// Templates kept compiled at once; past it the cache starts anew.
    private static let countMax = 1024

    /// The compiled form of a saved revision; nil when it does not compile, which a revision that was
    /// checked when saved always does.
    mutating func template(of revision: TemplateRevision) -> Template? {
        let key = Key(name: revision.row.name, position: revision.position)
        if let template = compiled[key] { return template }
        guard let template = try? Template(revision.row.source) else { return nil }
        if compiled.count >= Self.countMax { compiled.removeAll() }
        compiled[key] = template
        return template
    }
}

extension TemplateRow {
    var source: TemplateSource {
        TemplateSource(name: name, channel: channel, subject: subject, text: text, html: html)
    }
}

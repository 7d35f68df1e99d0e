// Drawing the clients and all they will do.

import PulseCore
import PulseNode

extension World {
    /// Makes every client with its plan.
    ///
    /// The first one saves the templates; nobody else begins before.
    func prepareWorkload() {
        let templates = Channel.allCases.map { channel in
            HTTPExchange(
                purpose: .template(channel),
                bytes: HTTPExchange.request(
                    "PUT",
                    "/v1/templates/\(Submission.templateName(channel))",
                    templateJSON(channel)
                )
            )
        }
        add(HTTPProducer(index: 0, plan: templates, gapMilliseconds: 5), startsWithin: 1)
        var http = [[HTTPExchange]](repeating: [], count: knobs.httpProducers)
        var native = [[Submission]](repeating: [], count: knobs.nativeProducers)
        for key in 0..<knobs.submissions { draw(key, &http, &native) }
        for plan in http {
            let index = clients.count
            let gap = Int(knobs.workloadMilliseconds) / max(1, plan.count)
            let looks = withLooks(plan)
            add(
                HTTPProducer(
                    index: index,
                    plan: takesPart ? looks : [],
                    gapMilliseconds: gap
                ),
                startsWithin: 200
            )
        }
        for submissions in native {
            let batches = batches(submissions)
            let gap = Int(knobs.workloadMilliseconds) / max(1, batches.count)
            add(
                NativeProducer(
                    index: clients.count,
                    batches: takesPart ? batches : [],
                    badRequests: workload.below(3),
                    gapMilliseconds: gap
                ),
                startsWithin: 200
            )
        }
        for number in 0..<knobs.consumers {
            // Some share a group, some have one of their own.
            let name = workload.chance(perThousand: 500) ? "audit" : "audit-\(number)"
            let channel = workload.chance(perThousand: 700) ? Channel.email : Channel.push
            let isNew = !groups.contains { $0.name == name && $0.channel == channel }
            if takesPart, isNew { groups.append((name, channel)) }
            add(
                NativeConsumer(
                    index: clients.count,
                    group: name,
                    channel: channel,
                    isIdle: !takesPart
                ),
                startsWithin: Int(knobs.workloadMilliseconds)
            )
        }
    }

    private func add(_ client: any SimulatedClient, startsWithin milliseconds: Int) {
        clients.append(client)
        timerSerials.append(0)
        let wait = 1 + workload.below(milliseconds)
        setTimer(clients.count - 1, afterMilliseconds: wait)
    }

    /// Whether the client that is made next takes part; the first always does.
    private var takesPart: Bool {
        clients.isEmpty || options.clients?.contains(clients.count) ?? true
    }

    private func templateJSON(_ channel: Channel) -> String {
        let subject = channel == .email ? ",\"subject\":\"News {{ m }}\"" : ""
        return "{\"channel\":\"\(channel.name)\"\(subject),\"text\":\"Dear you, {{ m }}.\"}"
    }

    // MARK: - Submissions

    /// Draws one submission, with its repeats and rivals, into the plans.
    private func draw(_ key: Int, _ http: inout [[HTTPExchange]], _ native: inout [[Submission]]) {
        let channels: [Channel] = [
            .email, .email, .email, .email, .webhook, .webhook, .webhook, .sms, .push, .push,
        ]
        let isNative = workload.chance(perThousand: 500)
        let isV1 = workload.chance(perThousand: 600)
        let door: Door = isNative ? .native : isV1 ? .v1 : .compatible
        var submission = Submission(
            number: witness.submissions.count,
            door: door,
            channel: channels[workload.below(channels.count)],
            user: "user\(workload.below(40))",
            usesTemplate: door == .compatible || workload.chance(perThousand: 300)
        )
        if workload.chance(perThousand: 900) {
            submission.key = "key-\(seed)-\(key)"
            submission.keyGroup = key
        }
        if door != .compatible {
            if workload.chance(perThousand: 150) {
                submission.deliverAt = drawTime()
                if !options.isPlain, extras.chance(perThousand: 150) {
                    let later = 60_000 + extras.below(60_000)
                    submission.deliverAt = drawTime().advanced(byMilliseconds: Int64(later))
                }
            }
            if submission.key != nil, workload.chance(perThousand: 10) {
                submission.deliverAt = wall.advanced(byMilliseconds: Self.farMilliseconds)
            }
            if workload.chance(perThousand: 300) {
                submission.lane = [.critical, .high, .normal, .bulk][workload.below(4)]
            }
        }
        witness.planned(submission)
        place(submission, &http, &native)
        guard submission.key != nil else { return }
        if workload.chance(perThousand: 120) { place(submission, &http, &native) }
        guard door != .compatible, workload.chance(perThousand: 50) else { return }
        var rival = submission
        rival.number = witness.submissions.count
        witness.planned(rival)
        place(rival, &http, &native)
    }

    private func drawTime() -> WallTimestamp {
        wall.advanced(
            byMilliseconds: Int64(workload.below(Int(knobs.workloadMilliseconds) + 10_000))
        )
    }

    private func place(
        _ submission: Submission,
        _ http: inout [[HTTPExchange]],
        _ native: inout [[Submission]]
    ) {
        let isOut = submission.number >= options.submissionsMax ?? .max
        if submission.door == .native {
            let client = workload.below(native.count)
            if !isOut { native[client].append(submission) }
        } else {
            let client = workload.below(http.count)
            if !isOut { http[client].append(HTTPExchange.submitting(submission)) }
        }
    }

    /// Cuts submissions into batches of one channel, a few records each.
    private func batches(_ submissions: [Submission]) -> [[Submission]] {
        var open = [[Submission]](repeating: [], count: Channel.allCases.count)
        var batches: [[Submission]] = []
        for submission in submissions {
            let place = Int(submission.channel.rawValue) - 1
            open[place].append(submission)
            if open[place].count >= 12 || workload.chance(perThousand: 250) {
                batches.append(open[place])
                open[place] = []
            }
        }
        return batches + open.filter { !$0.isEmpty }
    }

    // MARK: - What is not a submission

    /// Strews requests that must be refused, and looks at whatever there is, among a plan.
    private func withLooks(_ plan: [HTTPExchange]) -> [HTTPExchange] {
        var mixed: [HTTPExchange] = []
        for exchange in plan {
            mixed.append(exchange)
            if workload.chance(perThousand: 60) { mixed.append(drawBad()) }
            if workload.chance(perThousand: 60) { mixed.append(drawLook()) }
            if !options.isPlain, extras.chance(perThousand: 60) {
                mixed.append(extraTemplate("extra-\(clients.count)-\(mixed.count)"))
            }
        }
        return mixed
    }

    private func extraTemplate(_ name: String) -> HTTPExchange {
        HTTPExchange(
            purpose: .extraTemplate(name),
            bytes: HTTPExchange.request("PUT", "/v1/templates/\(name)", templateJSON(.sms))
        )
    }

    private func drawBad() -> HTTPExchange {
        let path = "/v1/notifications"
        let bytes =
            switch workload.below(6) {
            case 0: HTTPExchange.post(path, "{\"to\":")
            case 1: HTTPExchange.post(path, "{\"content\":{\"text\":\"nobody\"}}")
            case 2: HTTPExchange.post(path, "{\"to\":{\"email\":\"a@b.c\"},\"template\":\"none\"}")
            case 3: HTTPExchange.post("/api/notifications/send/", "{\"user_id\":\"u\"}")
            case 4: HTTPExchange.get("/v1/notifications/00000000-0000-8000-8000-000000000000")
            default: HTTPExchange.post("/nowhere", "{}")
            }
        return HTTPExchange(purpose: .bad, bytes: bytes)
    }

    private func drawLook() -> HTTPExchange {
        let paths = [
            "/v1/notifications?limit=5", "/v1/templates", "/metrics", "/livez", "/v1/status",
            "/api/notifications/list/", "/v1/notifications?user=user3",
        ]
        return HTTPExchange(
            purpose: .look,
            bytes: HTTPExchange.get(paths[workload.below(paths.count)])
        )
    }
}

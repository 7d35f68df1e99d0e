// Where the bytes of the disk are, as `GET /v1/disk` tells it. Source: spec/04-http.md, "Operators".

package import PulseCore

package struct DiskView: Sendable {
    /// Idempotency keys whose records went by size.
    package struct Keys: Sendable {
        package var remembered: UInt64
        package var forgotten: UInt64

        package init(remembered: UInt64, forgotten: UInt64) {
            self.remembered = remembered
            self.forgotten = forgotten
        }
    }

    /// What is made of the wall clock.
    package struct Clock: Sendable {
        package var steps: Int
        package var setByMilliseconds: Int64
        package var unconfirmedMilliseconds: Int64

        package init(steps: Int, setByMilliseconds: Int64, unconfirmedMilliseconds: Int64) {
            self.steps = steps
            self.setByMilliseconds = setByMilliseconds
            self.unconfirmedMilliseconds = unconfirmedMilliseconds
        }
    }

    package struct Pin: Sendable {
        package var segment: UInt64
        package var since: WallTimestamp
        package var group: String
        package var topic: String
        package var id: NotificationID
        package var state: String
        package var reason: String

        package init(
            segment: UInt64,
            since: WallTimestamp,
            group: String,
            topic: String,
            id: NotificationID,
            state: String,
            reason: String
        ) {
            self.segment = segment
            self.since = since
            self.group = group
            self.topic = topic
            self.id = id
            self.state = state
            self.reason = reason
        }
    }

    package var bytes: [(reason: String, count: Int)]
    package var total: Int
    /// 0: no limit.
    package var limitBytes: Int64
    package var ageMilliseconds: Int64
    package var keptRecords: UInt64
    package var keptBytes: UInt64
    package var evacuated: UInt64
    package var expired: UInt64
    package var keys: Keys
    package var clock: Clock
    package var pin: Pin?

    package init(
        bytes: [(reason: String, count: Int)],
        total: Int,
        limitBytes: Int64,
        ageMilliseconds: Int64,
        keptRecords: UInt64,
        keptBytes: UInt64,
        evacuated: UInt64,
        expired: UInt64,
        keys: Keys,
        clock: Clock,
        pin: Pin?
    ) {
        self.bytes = bytes
        self.total = total
        self.limitBytes = limitBytes
        self.ageMilliseconds = ageMilliseconds
        self.keptRecords = keptRecords
        self.keptBytes = keptBytes
        self.evacuated = evacuated
        self.expired = expired
        self.keys = keys
        self.clock = clock
        self.pin = pin
    }
}

extension HTTPResponse {
    package static func disk(_ view: DiskView) -> HTTPResponse {
        HTTPResponse(status: 200, .json) { body in
            func member(_ name: StaticString, _ value: some BinaryInteger) {
                body.append(name)
                body.append(decimal: value)
            }
            body.append("{\"bytes\":{")
            for (reason, count) in view.bytes {
                body.append(json: reason)
                body.append(":")
                body.append(decimal: count)
                body.append(",")
            }
            member("\"total\":", view.total)
            member("},\"policy\":{\"bytes\":", view.limitBytes)
            member(",\"milliseconds\":", view.ageMilliseconds)
            member("},\"kept\":{\"records\":", view.keptRecords)
            member(",\"bytes\":", view.keptBytes)
            member(",\"evacuated\":", view.evacuated)
            member(",\"expired\":", view.expired)
            member("},\"keys\":{\"remembered\":", view.keys.remembered)
            member(",\"forgotten\":", view.keys.forgotten)
            member("},\"clock\":{\"steps\":", view.clock.steps)
            member(",\"set_by_milliseconds\":", view.clock.setByMilliseconds)
            member(",\"unconfirmed_milliseconds\":", view.clock.unconfirmedMilliseconds)
            body.append("},\"pin\":")
            guard let pin = view.pin else {
                body.append("null}")
                return
            }
            member("{\"segment\":", pin.segment)
            body.append(",\"since\":")
            body.append(json: pin.since)
            body.append(",\"group\":")
            body.append(json: pin.group)
            body.append(",\"topic\":")
            body.append(json: pin.topic)
            body.append(",\"id\":\"")
            pin.id.append(to: &body)
            body.append("\",\"state\":")
            body.append(json: pin.state)
            body.append(",\"reason\":")
            body.append(json: pin.reason)
            body.append("}}")
        }
    }
}

// RFC 3339 times: a table of known ones, a table of bad ones, and a walk over year boundaries against
// a calendar that only knows how many days each month has.

import PulseCore
import Testing

@Suite struct CalendarTimeTests {
    @Test(
        arguments: [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.001Z", 1),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("2000-03-01T00:00:00Z", 951_868_800_000),
            ("2024-02-29T23:59:59Z", 1_709_251_199_000),
            ("2026-11-20T09:48:03.120Z", 1_795_168_083_120),
            ("2026-11-20t09:48:03.12z", 1_795_168_083_120),
            ("2026-11-20 09:48:03.1209999Z", 1_795_168_083_120),
            ("2026-11-20T10:48:03.120+01:00", 1_795_168_083_120),
            ("2026-11-20T04:18:03.120-05:30", 1_795_168_083_120),
            ("2026-11-20T09:48:03.120-00:00", 1_795_168_083_120),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000),
            ("1900-03-01T00:00:00Z", -2_203_891_200_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ] as [(String, Int64)]
    )
    func readsKnownTimes(text: String, milliseconds: Int64) {
        #expect(WallTimestamp(rfc3339: text)?.milliseconds == milliseconds)
    }

    @Test(arguments: [
        "", "2026", "2026-11-20", "2026-11-20T09:48:03", "2026-11-20T09:48Z",
        "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z",
        "2026-01-32T00:00:00Z", "2026-04-31T00:00:00Z", "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "2026-11-20T24:00:00Z",
        "2026-11-20T09:60:00Z", "2026-11-20T09:48:61Z", "2026-11-20T09:48:03.Z",
        "2026-11-20T09:48:03.12", "2026-11-20T09:48:03+0100", "2026-11-20T09:48:03+24:00",
        "2026-11-20T09:48:03+01:60", "2026-11-20T09:48:03+1:00", "2026-11-20T09:48:03Zx",
        "2026-11-20T09:48:03ZZ", "2026-11-20X09:48:03Z", " 2026-11-20T09:48:03Z",
        "2026-1-120T09:48:03Z", "+026-11-20T09:48:03Z", "2026/11/20T09:48:03Z",
        "２０２６-11-20T09:48:03Z", "2026-11-20T09:48:03\u{0}Z", "2026-11-20T09:48:03.1e3Z",
    ])
    func refusesWhatIsNoTime(text: String) {
        #expect(WallTimestamp(rfc3339: text) == nil)
    }

    @Test func writesTwentyFourCharactersThatReadBack() throws {
        var random = SeededGenerator(seed: 7)
        for _ in 0..<5000 {
            // Years 0 to 9999.
            let span = 253_402_300_799_999 + 62_167_219_200_000
            let time = WallTimestamp(
                milliseconds: Int64(random.below(span)) - 62_167_219_200_000
            )
            let text = time.rfc3339
            #expect(text.utf8.count == 24, "\(text)")
            #expect(WallTimestamp(rfc3339: text) == time, "\(text)")
        }
    }

    @Test func countsTheDaysOfFourHundredYears() throws {
        func isLeap(_ year: Int64) -> Bool {
            year % 400 == 0 || (year % 4 == 0 && year % 100 != 0)
        }
        var day: Int64 = 0
        for year: Int64 in 1970..<2400 {
            let lengths: [Int64] = [
                31, isLeap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31,
            ]
            for (month, length) in lengths.enumerated() {
                for date in [1, length] {
                    let found = WallTimestamp.civil(fromDays: day + date - 1)
                    #expect(
                        found.year == year && found.month == Int64(month + 1)
                            && found.day == date
                    )
                }
                day += length
            }
            // The last millisecond of the year and the first of the next.
            let turn = WallTimestamp(milliseconds: day * 86_400_000)
            #expect(turn.rfc3339 == "\(year + 1)-01-01T00:00:00.000Z")
            let before = WallTimestamp(milliseconds: turn.milliseconds - 1)
            #expect(before.rfc3339 == "\(year)-12-31T23:59:59.999Z")
        }
    }

    @Test func randomTextNeverTraps() {
        var random = SeededGenerator(seed: 3)
        let letters = Array("0123456789-:TZ+. ez\u{e9}")
        for _ in 0..<20_000 {
            var text = Array("2026-11-20T09:48:03.120+01:00")
            for _ in 0..<(1 + random.below(4)) {
                text[random.below(text.count)] = letters[random.below(letters.count)]
            }
            if random.below(3) == 0 { text.removeLast(random.below(text.count)) }
            _ = WallTimestamp(rfc3339: String(text))
        }
    }

    @Test func arithmeticSaturatesInsteadOfWrapping() {
        let last = WallTimestamp(milliseconds: .max)
        #expect(last.advanced(byMilliseconds: 1) == last)
        #expect(MonotonicInstant(nanoseconds: 5).milliseconds(since: .distantFuture) == 0)
        let start = MonotonicInstant(nanoseconds: 7_000_000)
        #expect(start.advanced(byMilliseconds: -5) == start)
        let century: Int64 = 36_525 * 86_400_000
        #expect(start.advanced(byMilliseconds: century) > start)
    }
}

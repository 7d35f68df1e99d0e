// Rows that wait, against a plain dictionary.

import PulseCore
import PulseIO
import Testing

@Suite struct WaitingRowsTests {
    private func key(_ number: Int) -> [UInt8] { Array("k\(10_000 + number)".utf8) }

    @Test(arguments: [1 as UInt64, 2, 3])
    func whatIsReadIsWhatWasPutLast(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var rows = WaitingRows()
        var stored: [StateRow] = []
        var model: [[UInt8]: [UInt8]?] = [:]
        for number in stride(from: 0, to: 4000, by: 3) {
            stored.append(StateRow(key: key(number), value: [0]))
        }
        for step in 0..<6000 {
            var batch = StateBatch()
            let key = key(Int(generator.next() % 4000))
            if generator.next() % 4 == 0 {
                batch.delete(key)
                model[key] = .some(nil)
            } else {
                let value = [UInt8](repeating: UInt8(truncatingIfNeeded: step), count: step % 50)
                batch.put(key, value)
                model[key] = value
            }
            rows.add(batch)
        }
        for number in 0..<4000 {
            #expect(rows.value(of: key(number)) == model[key(number)])
        }
        let bytes = model.reduce(0) { $0 + $1.key.count + ($1.value?.count ?? 0) + 96 }
        #expect(rows.bytes == bytes)
        #expect(rows.batch.changes.count == model.count)
        for _ in 0..<200 {
            let from = Int(generator.next() % 4000)
            let below = from + Int(generator.next() % 900)
            let limit = 1 + Int(generator.next() % 500)
            var whole = model
            for row in stored where whole[row.key] == nil { whole[row.key] = row.value }
            let expected = whole.filter {
                !$0.key.lexicographicallyPrecedes(key(from))
                    && $0.key.lexicographicallyPrecedes(key(below)) && $0.value != nil
            }.sorted { $0.key.lexicographicallyPrecedes($1.key) }.prefix(limit)
            let waiting = rows.rows(from: key(from), below: key(below))
            let inRange = stored.filter {
                !$0.key.lexicographicallyPrecedes(key(from))
                    && $0.key.lexicographicallyPrecedes(key(below))
            }.prefix(limit + waiting.count)
            let got = WaitingRows.merged(waiting, over: Array(inRange), limit: limit)
            #expect(got.map(\.key) == expected.map(\.key))
            #expect(got.map(\.value) == expected.map { $0.value ?? [] })
        }
    }
}

// Sends ten notifications and prints what the broker said: start `pulse serve` first.

import PulseClient

let client = try await PulseClient.connect(host: "127.0.0.1", port: 7070)
let producer = client.producer()

for number in 1...10 {
    let receipt = try await producer.send(
        Notification(
            user: "user-\(number)",
            to: "user-\(number)@example.org",
            channel: .email,
            content: Notification.Content(subject: "Hello", text: "Hello, number \(number)!"),
            idempotencyKey: "hello-\(number)"
        )
    )
    print(receipt.id, receipt.isDuplicate ? "sent before" : "accepted")
}

let many = (1...1000).map { number in
    Notification(
        user: "user-\(number % 50)",
        to: "user-\(number % 50)@example.org",
        channel: .email,
        content: Notification.Content(subject: "News", text: "Item \(number)"),
        lane: .bulk
    )
}
let accepted = await producer.send(contentsOf: many).count { (try? $0.get()) != nil }
print("\(accepted) of \(many.count) accepted")
client.close()

// Joins the group `hello` and acknowledges whatever comes; stop it with Ctrl-C.

import PulseClient

let client = try await PulseClient.connect(host: "127.0.0.1", port: 7070)
var options = ConsumerOptions()
options.window = 64
let consumer = try await client.subscribe(
    topic: "notify.email",
    group: "hello",
    options: options
)

for try await delivery in consumer {
    guard let notification = delivery.notification else {
        delivery.reject(reason: "not an envelope")
        continue
    }
    print(
        delivery.id,
        "attempt \(delivery.attempt)",
        notification.to,
        notification.content.text ?? notification.template ?? ""
    )
    delivery.acknowledge()
}

// The only way into a loop from another thread: messages under a lock, and one wake for all of them.

import CKernel
import Glibc
import Synchronization

/// A queue with many writers and one reading loop.
///
/// The first message after the reader has looked writes the event counter; the rest ride along, so a
/// burst costs one wake.
package final class Mailbox<Message: Sendable>: Sendable {
    private let messages = Mutex<[Message]>([])
    private let counter: OwnedDescriptor

    package init() throws(IOFailure) {
        counter = OwnedDescriptor(
            takingOver: try SystemCall.require("create a mailbox") { pulse_eventfd(1) }
        )
    }

    /// Adds a message; from any thread.
    ///
    /// It is told even when the mailbox is attached later.
    package func post(_ message: Message) {
        let wasEmpty = messages.withLock { queue in
            queue.append(message)
            return queue.count == 1
        }
        guard wasEmpty else { return }
        var one: UInt64 = 1
        // The only refusal is a counter at its limit, and then the reader is awake already.
        _ = SystemCall.attempt { write(counter.rawValue, &one, 8) }
    }

    /// Tells every batch of messages to `deliver`, in a turn of `loop` and in posting order.
    package func attach(
        to loop: EventLoop,
        deliver: @escaping ([Message]) -> Void
    ) throws(IOFailure) -> MailboxAttachment {
        let reader = MailboxReader(mailbox: self, deliver: deliver)
        let registration = try loop.register(counter.rawValue, for: .readable, handler: reader)
        return MailboxAttachment(loop: loop, registration: registration)
    }

    /// Takes all messages out.
    ///
    /// The counter is emptied first: a message posted in between wakes the reader once too often
    /// rather than never.
    fileprivate func takeAll() -> [Message] {
        var count: UInt64 = 0
        _ = SystemCall.attempt { read(counter.rawValue, &count, 8) }
        return messages.withLock { queue in
            let taken = queue
            queue = []
            return taken
        }
    }
}

/// A mailbox's place in a loop; detach to hear no more.
package struct MailboxAttachment {
    let loop: EventLoop
    let registration: Registration

    package func detach() { loop.remove(registration) }
}

private final class MailboxReader<Message: Sendable>: EventHandler {
    let mailbox: Mailbox<Message>
    let deliver: ([Message]) -> Void

    init(mailbox: Mailbox<Message>, deliver: @escaping ([Message]) -> Void) {
        self.mailbox = mailbox
        self.deliver = deliver
    }

    func ready(_ readiness: Readiness, descriptor: Int32) {
        let messages = mailbox.takeAll()
        if !messages.isEmpty { deliver(messages) }
    }
}

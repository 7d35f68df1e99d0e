// Ghost state: what must be true of the node whatever clients have seen of it, asked while it happens.

import PulseBroker
import PulseCore
import PulseLog
import PulseNode

/// The log as it was once, and what the store had then.
struct PastMoment {
    var life: Int
    var disk: SimulatedDisk
    var rows: [StateRow]
}

extension World {
    /// The node's configuration, with what the simulator puts into it.
    var configuration: NodeConfiguration {
        var configuration = knobs.node
        configuration.shard.log.buggify = buggify
        return configuration
    }

    /// P1: a client was told of a notification by bytes that left the node when its record was not
    /// durable yet.
    func checkTold(_ id: NotificationID) {
        guard let node, let durable = answerDurable,
            let place = id.place(key: node.shard.log.identity.key)
        else { return }
        do throws(LogError) {
            guard let position = try node.shard.log.locate(place.stream, place.offset) else {
                return
            }
            if position >= durable {
                witness.note(
                    "P1",
                    "a client was told of \(id) at \(position.rawValue) when the log was durable "
                        + "to \(durable.rawValue)"
                )
            }
        } catch { witness.note("P1", "\(id) cannot be found: \(error)") }
    }

    /// P1: the same for a template.
    func checkTold(template name: String) {
        guard let node, let durable = answerDurable,
            let revision = node.shard.revisionInForce(of: name), revision.position >= durable
        else { return }
        witness.note("P1", "a client was told of template \(name) before it was durable")
    }

    /// P1: the same for a group, which is in the state once it is durable.
    func checkTold(group name: String, _ channel: Channel) {
        guard let node, answerDurable != nil,
            node.shard.state.group(named: name, on: channel.topic) == nil
        else { return }
        witness.note("P1", "a client was told of group \(name) before it was durable")
    }

    /// P1: the same for an acknowledgement, which is in the state once it is durable: the message is
    /// done, and waits for nothing.
    func checkTold(finished id: NotificationID, by name: String, _ channel: Channel) {
        guard let node, answerDurable != nil,
            let place = id.place(key: node.shard.log.identity.key),
            let group = node.shard.state.group(named: name, on: channel.topic),
            let index = group.index(of: place.stream)
        else { return }
        if !group.streams[index].progress.isDone(place.offset) {
            witness.note(
                "P1",
                "group \(name) was told that \(id) is finished before it was durable"
            )
        }
    }

    /// P1: the same for a cancellation, which ends the notification for its delivery.
    func checkTold(cancelled id: NotificationID) {
        guard let node, answerDurable != nil,
            let place = id.place(key: node.shard.log.identity.key),
            let group = node.shard.state.group(
                named: GroupState.deliveryName,
                on: place.stream.topic
            ), let index = group.index(of: place.stream)
        else { return }
        if !group.streams[index].progress.isDone(place.offset) {
            witness.note("P1", "a client was told that \(id) is cancelled before it was durable")
        }
    }

    /// P1: what counts as durable was covered by a sync that ended.
    func checkDurable() {
        guard let node, node.shard.log.durablePosition > syncedTo else { return }
        witness.note(
            "P1",
            "the log counts as durable to \(node.shard.log.durablePosition.rawValue) and was "
                + "synced to \(syncedTo.rawValue)"
        )
    }

    /// P3: a provider may be called only when the intent is durable.
    func checkIntent(_ id: NotificationID, _ channel: Channel) {
        guard let node, let place = id.place(key: node.shard.log.identity.key),
            let group = node.shard.state.group(named: GroupState.deliveryName, on: channel.topic)
        else { return }
        let key = MessageKey(group: group.id, stream: place.stream, offset: place.offset)
        if node.shard.state.openIntents[key] == nil {
            witness.note("P3", "a provider is called for \(id) without a durable intent")
        }
    }

    /// P1 after every start and at the end: groups and templates that somebody was told of exist, and
    /// every call that a provider saw is known.
    func checkGhosts(_ node: Node) {
        for group in groups where witness.groupExists(group.name, group.channel) {
            if node.shard.state.group(named: group.name, on: group.channel.topic) == nil {
                witness.note("P1", "group \(group.name) was confirmed and is lost")
            }
        }
        for name in extraTemplates.sorted()
        where node.shard.revisionInForce(of: name) == nil {
            witness.note("P1", "template \(name) was confirmed and is lost")
        }
        guard !options.isPlain else { return }
        for id in witness.known {
            do throws(ShardError) {
                guard let story = try node.shard.story(of: id, withSteps: false) else { continue }
                let calls = witness.callsThatCount(of: id)
                if story.attempts < calls {
                    witness.note(
                        "P3",
                        "\(id) was called \(calls) times and has \(story.attempts) attempts"
                    )
                }
            } catch {
                if case .lost = error, witness.mayBeLost(id) { continue }
                witness.note("P1", "\(id) cannot be read: \(error)")
            }
        }
    }

    /// P2 at the end: the lane `dead` has what the ledger says.
    func checkDeadLetters(_ node: Node) {
        for channel in Channel.allCases {
            var found: UInt64 = 0
            for (stream, _) in node.shard.state.streams
            where stream.topic == channel.topic && stream.lane == .dead {
                do throws(ShardError) {
                    let all = try node.shard.browse(stream, from: Offset(0), count: 100_000)
                    found += UInt64(all.count)
                } catch { witness.note("P2", "dead letters cannot be read: \(error)") }
            }
            let dead = node.shard.balance(of: channel).dead
            // Dead letters go with their records, which retention or a repair may let go.
            let isLess =
                found < dead
                && (knobs.retention != nil && witness.hasReleased || witness.repairs > 0)
            if found != dead, !isLess {
                witness.note("P2", "\(channel.name) has \(dead) dead and \(found) dead letters")
            }
        }
    }
}

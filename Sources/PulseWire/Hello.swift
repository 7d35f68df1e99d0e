// hello and its reply: the first frames of a connection.
//
//     hello 0x01:    client name string16 | client version string16 | highest protocol version u8
//     reply 0x81:    protocol version u8 | server version string16 | max frame u32 | lease ms u32
//                    | server id u64 | partitions u16

internal import PulseCore

package struct HelloRequest: Hashable, Sendable {
    package var clientName: String
    package var clientVersion: String
    /// The highest protocol version this client speaks.
    package var protocolVersion: UInt8

    package init(
        clientName: String,
        clientVersion: String,
        protocolVersion: UInt8 = Frame.version
    ) {
        self.clientName = clientName
        self.clientVersion = clientVersion
        self.protocolVersion = protocolVersion
    }

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        clientName = try reader.string16("client name")
        clientVersion = try reader.string16("client version")
        protocolVersion = try reader.u8("protocol version")
        try reader.end()
    }

    package func encode(correlation: UInt32, into bytes: inout [UInt8]) {
        let frame = OpenFrame(.hello, correlation: correlation, in: &bytes)
        bytes.append(message16: clientName)
        bytes.append(message16: clientVersion)
        bytes.append(protocolVersion)
        frame.close(in: &bytes)
    }
}

/// What a server says about itself.
package struct HelloReply: Hashable, Sendable {
    /// The version both ends use from now on.
    package var protocolVersion: UInt8
    package var serverVersion: String
    /// The largest value of a frame's length field.
    package var frameBytesMax: UInt32
    package var leaseMilliseconds: UInt32
    /// The same for as long as the data directory lives.
    package var serverID: UInt64
    /// Partitions of every topic.
    package var partitions: UInt16

    package init(
        serverVersion: String,
        serverID: UInt64,
        partitions: UInt16,
        protocolVersion: UInt8 = Frame.version,
        frameBytesMax: UInt32 = UInt32(Limits.frameBytesMax),
        leaseMilliseconds: UInt32 = UInt32(Limits.leaseMilliseconds)
    ) {
        self.protocolVersion = protocolVersion
        self.serverVersion = serverVersion
        self.frameBytesMax = frameBytesMax
        self.leaseMilliseconds = leaseMilliseconds
        self.serverID = serverID
        self.partitions = partitions
    }

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        protocolVersion = try reader.u8("protocol version")
        serverVersion = try reader.string16("server version")
        frameBytesMax = try reader.u32("max frame")
        leaseMilliseconds = try reader.u32("lease milliseconds")
        serverID = try reader.u64("server id")
        partitions = try reader.u16("partitions")
        try reader.end()
    }

    package func encode(correlation: UInt32, into bytes: inout [UInt8]) {
        let frame = OpenFrame(.helloReply, correlation: correlation, in: &bytes)
        bytes.append(protocolVersion)
        bytes.append(message16: serverVersion)
        bytes.append(littleEndian: frameBytesMax)
        bytes.append(littleEndian: leaseMilliseconds)
        bytes.append(littleEndian: serverID)
        bytes.append(littleEndian: partitions)
        frame.close(in: &bytes)
    }
}

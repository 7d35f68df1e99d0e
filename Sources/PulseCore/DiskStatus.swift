// What the shell says about the disk, now and then: the core has no way to look.

/// The disk as it was a moment ago.
package struct DiskStatus: Hashable, Sendable {
    package var freeBytes: Int64
    package var totalBytes: Int64
    /// Bytes of rows that the state store could not take yet.
    package var storeWaitingBytes: Int
    /// A sync has been under way for too long.
    package var isStalled: Bool

    package init(
        freeBytes: Int64,
        totalBytes: Int64,
        storeWaitingBytes: Int = 0,
        isStalled: Bool = false
    ) {
        self.freeBytes = freeBytes
        self.totalBytes = totalBytes
        self.storeWaitingBytes = storeWaitingBytes
        self.isStalled = isStalled
    }

    /// With less free than this, new work is refused and no segment is made: what is left is for
    /// what must go on.
    package var freeBytesLeast: Int64 {
        let share = min(totalBytes / 20, Int64(Limits.diskFreeBytesMax))
        return max(share, min(Int64(Limits.diskFreeBytesMin), totalBytes / 8))
    }

    /// With this much free, new work is let in again.
    package var freeBytesEnough: Int64 { 2 * freeBytesLeast }
}

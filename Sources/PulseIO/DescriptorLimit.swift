// How many descriptors the process may have: connections, segments, the state store's files, libcurl.

import Glibc

package enum DescriptorLimit {
    /// Raises the soft limit to the hard one, which needs no privilege.
    ///
    /// - Returns: The limit now in force, or nil when the kernel does not say.
    package static func raise() -> Int? {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            return nil
        }
        if limit.rlim_cur < limit.rlim_max {
            let soft = limit.rlim_cur
            limit.rlim_cur = limit.rlim_max
            if setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) != 0 {
                limit.rlim_cur = soft
            }
        }
        return Int(clamping: limit.rlim_cur)
    }

    /// Whether `count` descriptors are to be had now.
    static func canHave(_ count: Int) -> Bool {
        let descriptors = (0..<count).map { _ in open("/dev/null", O_RDONLY | O_CLOEXEC) }
        for descriptor in descriptors where descriptor >= 0 { close(descriptor) }
        return descriptors.allSatisfy { $0 >= 0 }
    }
}

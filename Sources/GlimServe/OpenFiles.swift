import Foundation

/// The files and connections that this process has open, and how many more it may.
///
/// A process must not come to the last of them: libdispatch, under whatever awaits, opens one now and then to see how its
/// threads do, and ends the process where it cannot.
enum OpenFiles {
    /// For everything that is no connection, and for a few that the system lets in before they are counted.
    private static let reserve = 16
    /// A limit that is too low is raised to this where it may be: several servers may run in a process.
    private static let plenty: rlim_t = 8192

    /// How many connections fit beside what is open, at most `wanted`.
    ///
    /// - Returns: zero or less where there is no room.
    static func room(for wanted: Int) -> Int {
        // Where no list of them is found, a usual number of them.
        let open = (try? FileManager.default.contentsOfDirectory(atPath: "/dev/fd"))?.count ?? 64
        let taken = open + reserve
        var limit = rlimit()
        guard getrlimit(kind, &limit) == 0 else { return wanted }
        let needed = rlim_t(taken + min(wanted, 1 << 30))
        guard limit.rlim_cur < needed else { return wanted }
        let allowed = limit.rlim_cur
        limit.rlim_cur = min(max(needed, plenty), limit.rlim_max)
        return min(wanted, Int(setrlimit(kind, &limit) == 0 ? limit.rlim_cur : allowed) - taken)
    }

    #if canImport(Darwin)
    private static let kind = RLIMIT_NOFILE
    #else
    private static let kind = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    #endif
}

import Foundation

/// Which web pages may send requests, where no key is asked for.
///
/// Every page that a browser of this machine shows can send to a server on it, and whoever owns a name can have it lead here
/// (DNS rebinding). Programs send no origin, and are let in.
enum Origin {
    /// - Parameters:
    ///   - origin: the `Origin` that a browser sends along, if it does.
    ///   - host: the `Host` that the request was sent to.
    ///   - listening: the host that the server listens at.
    static func isAllowed(_ origin: String?, host: String?, listening: String) -> Bool {
        guard let origin else { return true }
        guard let page = URL(string: origin), let name = page.host?.lowercased(), let host else { return false }
        guard host.lowercased() == (page.port.map { "\(bracketed(name)):\($0)" } ?? bracketed(name)) else {
            return false
        }
        // The server's own page: by an address, which leads nowhere else, or by a name, which may for who listens to others.
        let isHere = isAddress(name) || name == "localhost"
        return isHere || !["127.0.0.1", "localhost", "::1"].contains(listening.lowercased())
    }

    private static func bracketed(_ name: String) -> String {
        name.contains(":") && !name.hasPrefix("[") ? "[\(name)]" : name
    }

    private static func isAddress(_ name: String) -> Bool {
        if name.contains(":") { return true }
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts.allSatisfy { UInt8($0) != nil }
    }
}

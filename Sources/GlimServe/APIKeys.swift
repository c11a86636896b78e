public import Foundation

/// The keys that a server lets in.
public struct APIKeys: Sendable {
    private let keys: [[UInt8]]

    /// Reads a file with a key on each line. Empty lines and those that begin with `#` are left out.
    ///
    /// - Throws: `ServeError` for a file that cannot be read, holds no key, or one that no client could send.
    public init(file: URL) throws(ServeError) {
        guard let data = try? Data(contentsOf: file) else { throw .keys(path: file.path, line: nil, "cannot be read") }
        var keys: [[UInt8]] = []
        for (number, line) in data.split(separator: 0x0A, omittingEmptySubsequences: false).enumerated() {
            var key = Array(line)
            while let last = key.last, [0x20, 0x09, 0x0D].contains(last) { key.removeLast() }
            if key.isEmpty || key.first == UInt8(ascii: "#") { continue }
            guard key.allSatisfy({ (0x21...0x7E).contains($0) }) else {
                throw .keys(path: file.path, line: number + 1, "has a key of more than ASCII's visible characters")
            }
            keys.append(key)
        }
        guard !keys.isEmpty else { throw .keys(path: file.path, line: nil, "holds no key") }
        self.keys = keys
    }

    /// Whether a request with these headers is let in: as `Authorization: Bearer KEY`, or as `x-api-key: KEY`.
    func allow(authorization: String?, key: String?) -> Bool {
        if let key { return allow(key) }
        guard let authorization, authorization.lowercased().hasPrefix("bearer ") else { return false }
        return allow(authorization.dropFirst("bearer ".count).trimmingCharacters(in: .whitespaces))
    }

    /// Compares with every key, all of each: the time it takes tells nothing of how much of one was right.
    private func allow(_ presented: String) -> Bool {
        let presented = Array(presented.utf8)
        var isKnown: UInt8 = 0
        for key in keys {
            var difference: UInt8 = presented.count == key.count ? 0 : 1
            for (i, byte) in presented.enumerated() { difference |= byte ^ key[i % key.count] }
            isKnown |= difference == 0 ? 1 : 0
        }
        return isKnown != 0
    }
}

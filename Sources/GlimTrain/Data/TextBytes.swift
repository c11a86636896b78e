/// Questions about bytes that may be text.
package enum TextBytes {
    /// Whether bytes are anything but text: a NUL among them, or more than a tenth of them not UTF-8.
    ///
    /// A tenth lets text in an old 8-bit encoding pass, whose accents are a few per cent, and stops compressed data,
    /// half of which is not UTF-8.
    package static func isBinary(_ bytes: ArraySlice<UInt8>) -> Bool {
        if bytes.contains(0) { return true }
        return invalidCount(bytes) * 10 > bytes.count
    }

    /// How many bytes belong to no well-formed UTF-8 sequence. A sequence cut by the end of the bytes is well-formed.
    package static func invalidCount(_ bytes: ArraySlice<UInt8>) -> Int {
        bytes.withUnsafeBufferPointer { bytes in
            var (invalid, i) = (0, 0)
            while i < bytes.count {
                let lead = bytes[i]
                if lead < 0x80 {
                    i += 1
                    continue
                }
                let length =
                    switch lead {
                    case 0xC2...0xDF: 2
                    case 0xE0...0xEF: 3
                    case 0xF0...0xF4: 4
                    default: 1
                    }
                var good = 1
                while good < length, i + good < bytes.count, bytes[i + good] & 0xC0 == 0x80 { good += 1 }
                let complete = length > 1 && (good == length || i + good == bytes.count)
                if !complete { invalid += good }
                i += good
            }
            return invalid
        }
    }

    /// Cuts bytes into pieces of at most `limit`, each ending with a line where there is one to end with, else
    /// between two characters.
    package static func pieces(_ bytes: [UInt8], limit: Int) -> [ArraySlice<UInt8>] {
        guard bytes.count > limit else { return bytes.isEmpty ? [] : [bytes[...]] }
        var pieces: [ArraySlice<UInt8>] = []
        var start = 0
        while start < bytes.count {
            var end = min(start + limit, bytes.count)
            if end < bytes.count { end = cut(bytes, start: start, limit: end) }
            pieces.append(bytes[start..<end])
            start = end
        }
        return pieces
    }

    /// The first of those pieces, without making the others.
    package static func firstPiece(_ bytes: ArraySlice<UInt8>, limit: Int) -> ArraySlice<UInt8> {
        // One byte more tells whether a character begins at the limit.
        let head = Array(bytes.prefix(limit + 1))
        return bytes.prefix(head.count > limit ? cut(head, start: 0, limit: limit) : head.count)
    }

    private static func cut(_ bytes: [UInt8], start: Int, limit: Int) -> Int {
        if let newline = bytes[start..<limit].lastIndex(of: UInt8(ascii: "\n")) { return newline + 1 }
        return characterStart(bytes, atOrBefore: limit, after: start)
    }

    /// The greatest index up to `index` at which a character starts; `index` itself if none is near.
    static func characterStart(_ bytes: [UInt8], atOrBefore index: Int, after start: Int) -> Int {
        for candidate in stride(from: index, to: max(start, index - 4), by: -1)
        where candidate < bytes.count && bytes[candidate] & 0xC0 != 0x80 {
            return candidate
        }
        return index
    }

    /// A hash of each line long enough to mean something; indentation and short lines are alike everywhere.
    static func lineHashes(_ bytes: [UInt8]) -> [UInt64] {
        bytes.withUnsafeBytes { bytes in
            var hashes: [UInt64] = []
            var start = 0
            while start < bytes.count {
                var end = start
                while end < bytes.count, bytes[end] != UInt8(ascii: "\n") { end += 1 }
                var first = start
                while first < end, bytes[first] == UInt8(ascii: " ") || bytes[first] == UInt8(ascii: "\t") {
                    first += 1
                }
                if end - first >= 20 {
                    hashes.append(ContentHash.hash(UnsafeRawBufferPointer(rebasing: bytes[first..<end]), seed: 0))
                }
                start = end + 1
            }
            return hashes
        }
    }
}

/// Documents kept apart from training, to measure on.
///
/// Whether a document validates depends on its bytes and the seed, not on where it stands or what stands beside it:
/// its hash, as a number in [0, 1), is below the fraction. Two bounds keep that sensible on few documents. There is
/// always some validation text where there are at least two characters of data (where documents stay whole: at least
/// two of them); and its bytes stay within the fraction of all bytes, for which the last document that would exceed it
/// is cut: its end validates, its beginning trains. All of it is independent of the order of the documents.
public struct ValidationSplit: Sendable, Equatable {
    public var training: [Document]
    public var validation: [Document]

    /// The share of bytes that validates by default: a twentieth, or half a megabyte if that is less.
    public static func defaultFraction(totalBytes: Int) -> Double {
        min(0.05, Double(512 << 10) / Double(max(totalBytes, 1)))
    }

    /// - Parameters:
    ///   - fraction: of the bytes, from 0 (no validation) to 1/2; nil for `defaultFraction`.
    ///   - cuts: false where a part of a document is none: then the one that would exceed the fraction trains, but for
    ///     the first of several, which validates.
    public init(_ documents: [Document], fraction: Double? = nil, cuts: Bool = true, seed: UInt64) {
        let totalBytes = documents.reduce(0) { $0 + $1.bytes.count }
        let wanted = fraction ?? Self.defaultFraction(totalBytes: totalBytes)
        let fraction = wanted.isNaN ? 0 : min(max(wanted, 0), 0.5)
        guard fraction > 0, totalBytes >= 2 else {
            (training, validation) = (documents, [])
            return
        }
        let key = ContentHash.hash(Array("validation".utf8), seed: seed)
        let ranks = documents.map { ContentHash.hash($0.bytes, seed: key) }
        let order = documents.indices.filter { !documents[$0].bytes.isEmpty }
            .sorted { (ranks[$0], documents[$0].name) < (ranks[$1], documents[$1].name) }
        var budget = max(1, Int(Double(totalBytes) * fraction))
        // How many bytes at the end of each document validate.
        var validating = [Int](repeating: 0, count: documents.count)
        for (position, i) in order.enumerated() where budget > 0 {
            let isBelow = Double(ranks[i] >> 11) * 0x1p-53 < fraction
            guard isBelow || position == 0 else { break }
            let count = documents[i].bytes.count
            if cuts {
                validating[i] = count <= budget ? count : Self.tail(of: documents[i].bytes, limit: budget)
            } else if count <= budget || position == 0 && order.count > 1 {
                validating[i] = count
            }
            budget -= validating[i]
            if validating[i] < count { break }
        }
        (training, validation) = ([], [])
        for (i, document) in documents.enumerated() {
            let cut = document.bytes.count - validating[i]
            switch cut {
            case document.bytes.count: training.append(document)
            case 0: validation.append(document)
            default:
                training.append(Document(name: document.name, bytes: Array(document.bytes[..<cut])))
                validation.append(Document(name: "\(document.name)@\(cut)", bytes: Array(document.bytes[cut...])))
            }
        }
    }

    /// How long the end of a text is that starts with a line, or else with a character, and has at most `limit` bytes.
    private static func tail(of bytes: [UInt8], limit: Int) -> Int {
        let earliest = bytes.count - limit
        if bytes[earliest - 1] == UInt8(ascii: "\n") { return limit }
        if let newline = bytes[earliest...].firstIndex(of: UInt8(ascii: "\n")), newline + 1 < bytes.count {
            return bytes.count - newline - 1
        }
        let start = bytes[earliest...].prefix(4).firstIndex { $0 & 0xC0 != 0x80 } ?? earliest
        return bytes.count - start
    }
}

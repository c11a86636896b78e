public import Foundation
import GlimCheckpoint

/// What collecting left out, and why: `data.json` of a run.
public struct CorpusReport: Codable, Sendable, Equatable {
    /// Why a text is not in the corpus.
    public enum Reason: String, Codable, Sendable {
        case empty, binary, unreadable, duplicate, special, unsuited, similar
        case tooLong = "too_long"
        case untaught
    }

    /// One text that was left out.
    public struct Dropped: Codable, Sendable, Equatable {
        public var name: String
        public var reason: Reason
        /// Of a duplicate: the equal text that was kept.
        public var kept: String?

        public init(name: String, reason: Reason, kept: String? = nil) {
            (self.name, self.reason, self.kept) = (name, reason, kept)
        }
    }

    /// The first of those left out, in order, and how many there were: names of a million files would be a burden.
    package struct DroppedList {
        static let limit = 10_000
        package private(set) var first: [Dropped] = []
        package private(set) var count = 0

        package init() {}

        package mutating func append(_ dropped: Dropped) {
            if count < Self.limit { first.append(dropped) }
            count += 1
        }
    }

    /// Counts, always of all.
    public var totals: Corpus.Totals
    /// At most 10,000 of those left out, in the order in which they were met.
    public var dropped: [Dropped]
    /// How many more there are.
    public var droppedUnlisted: Int

    enum CodingKeys: String, CodingKey {
        case totals, dropped
        case droppedUnlisted = "dropped_unlisted"
    }

    package init(totals: Corpus.Totals, dropped: DroppedList) {
        (self.totals, self.dropped) = (totals, dropped.first)
        droppedUnlisted = dropped.count - dropped.first.count
    }

    /// Leaves out a document that was collected.
    mutating func leaveOut(_ document: Document, _ reason: Reason) {
        totals.documents -= 1
        totals.bytes -= document.bytes.count
        totals.count(reason)
        if dropped.count < DroppedList.limit {
            dropped.append(Dropped(name: document.name, reason: reason))
        } else {
            droppedUnlisted += 1
        }
    }

    /// Writes `data.json` into a folder: whole, or not at all.
    ///
    /// - Throws: `CheckpointError` if it cannot be written.
    public func write(toFolder folder: URL) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try AtomicFile.write(encoder.encode(self), to: folder.appending(path: "data.json"))
    }
}

extension Corpus.Totals {
    mutating func count(_ reason: CorpusReport.Reason) {
        switch reason {
        case .empty: skippedEmpty += 1
        case .binary: skippedBinary += 1
        case .unreadable: skippedUnreadable += 1
        case .duplicate: skippedDuplicate += 1
        case .special: skippedSpecial += 1
        case .unsuited: skippedUnsuited += 1
        case .similar: skippedSimilar += 1
        case .tooLong: skippedTooLong += 1
        case .untaught: skippedUntaught += 1
        }
    }

    /// Files that were written before there were conversations lack the counts of those.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        func count(_ key: CodingKeys) throws -> Int { try values.decode(Int.self, forKey: key) }
        (files, documents, bytes) = (try count(.files), try count(.documents), try count(.bytes))
        (skippedEmpty, skippedBinary) = (try count(.skippedEmpty), try count(.skippedBinary))
        (skippedUnreadable, skippedDuplicate) = (try count(.skippedUnreadable), try count(.skippedDuplicate))
        (skippedSpecial, skippedUnsuited) = (try count(.skippedSpecial), try count(.skippedUnsuited))
        skippedSimilar = try count(.skippedSimilar)
        skippedTooLong = try values.decodeIfPresent(Int.self, forKey: .skippedTooLong) ?? 0
        skippedUntaught = try values.decodeIfPresent(Int.self, forKey: .skippedUntaught) ?? 0
    }
}

public import Foundation
import GlimCheckpoint

/// What collecting left out, and why: `data.json` of a run.
public struct CorpusReport: Codable, Sendable, Equatable {
    /// Why a text is not in the corpus.
    public enum Reason: String, Codable, Sendable {
        case empty, binary, unreadable, duplicate, special, unsuited, similar
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

    /// Writes `data.json` into a folder: whole, or not at all.
    ///
    /// - Throws: `CheckpointError` if it cannot be written.
    public func write(toFolder folder: URL) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try AtomicFile.write(encoder.encode(self), to: folder.appending(path: "data.json"))
    }
}

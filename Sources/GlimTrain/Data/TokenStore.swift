import Dispatch
import Foundation
import GlimTensor
import Synchronization

/// Documents as tokens, one after the other in one buffer, each ending with the end-of-text token.
public struct TokenStore: Sendable, Equatable {
    public let tokens: [Int32]
    /// Where each document starts, and last where the tokens end: `documentCount + 1` values, ascending from 0.
    public let offsets: [Int]
    /// Whether each token is learned when it comes next; empty: all are.
    private let taught: [Bool]

    public var documentCount: Int { offsets.count - 1 }
    public var tokenCount: Int { tokens.count }

    /// The range of a document's tokens in `tokens`.
    public func range(_ document: Int) -> Range<Int> { offsets[document]..<offsets[document + 1] }

    /// The token at a place as a target: -1 where it is read but not learned.
    public func target(_ place: Int) -> Int32 { taught.isEmpty || taught[place] ? tokens[place] : -1 }

    /// Whether anything in a document is a target.
    func teaches(_ document: Int) -> Bool { range(document).dropFirst().contains { target($0) >= 0 } }

    /// How many tokens are targets.
    var targetCount: Int {
        (0..<documentCount).reduce(0) { sum, document in
            sum + range(document).dropFirst().count { target($0) >= 0 }
        }
    }

    /// Takes documents that are tokens already; each must end with the end-of-text token where one is wanted.
    ///
    /// - Parameter taught: for each token of each document whether it is learned; nil: all are.
    public init(_ documents: [[Int32]], taught: [[Bool]]? = nil) {
        precondition(taught.map { $0.map(\.count) == documents.map(\.count) } ?? true, "TokenStore: one bit a token")
        var offsets = [0]
        offsets.reserveCapacity(documents.count + 1)
        for document in documents { offsets.append(offsets[offsets.count - 1] + document.count) }
        var tokens: [Int32] = []
        tokens.reserveCapacity(offsets[offsets.count - 1])
        for document in documents { tokens += document }
        (self.tokens, self.offsets, self.taught) = (tokens, offsets, taught?.flatMap(\.self) ?? [])
    }

    /// Tokenises documents on several threads. The result is the same for any number of them.
    ///
    /// - Parameters:
    ///   - endOfText: appended to each document.
    ///   - threads: how many; nil for one per core. They are not those of Swift's cooperative pool.
    ///   - progress: called now and then with the bytes done, by whichever thread did them.
    ///   - tokenize: bytes to token ids, a pure function.
    public init(
        _ documents: [Document], endOfText: Int32, threads: Int? = nil,
        progress: @Sendable (_ bytesDone: Int) -> Void = { _ in },
        tokenize: @Sendable ([UInt8]) -> [Int32]
    ) {
        self.init(
            Self.map(documents, threads: threads, progress: progress) { tokenize($0.bytes) + [endOfText] })
    }

    /// What `body` makes of each document, on several threads: a pure function.
    static func map<T: Sendable>(
        _ documents: [Document], threads: Int?, progress: @Sendable (_ bytesDone: Int) -> Void = { _ in },
        _ body: @Sendable (Document) -> T
    ) -> [T] {
        let state = Mutex(MappedDocuments<T>(results: Array(repeating: nil, count: documents.count)))
        let wanted = threads ?? ProcessInfo.processInfo.activeProcessorCount
        let workers = max(1, min(wanted, documents.count))
        DispatchQueue.concurrentPerform(iterations: workers) { _ in
            while true {
                let claimed: Int? = state.withLock { state in
                    guard state.next < documents.count else { return nil }
                    defer { state.next += 1 }
                    return state.next
                }
                guard let i = claimed else { return }
                let result = body(documents[i])
                let bytesDone = state.withLock { state in
                    state.results[i] = result
                    state.bytesDone += documents[i].bytes.count
                    return state.bytesDone
                }
                if i % 64 == 0 { progress(bytesDone) }
            }
        }
        return state.withLock { $0.results.compactMap { $0 } }
    }

    /// A hash of all tokens and boundaries: a run that resumes compares it, so as not to go on with other data.
    public var fingerprint: UInt64 {
        let content = tokens.withUnsafeBytes { ContentHash.hash($0, seed: 0) }
        let bounded = offsets.withUnsafeBytes { ContentHash.hash($0, seed: content) }
        return taught.isEmpty ? bounded : taught.withUnsafeBytes { ContentHash.hash($0, seed: bounded) }
    }
}

/// How far the threads are that make something of each document.
private struct MappedDocuments<T: Sendable>: Sendable {
    var next = 0
    var bytesDone = 0
    var results: [T?]
}

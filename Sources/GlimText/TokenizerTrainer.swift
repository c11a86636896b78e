import Dispatch
import Foundation
import Synchronization

/// Learns a byte-level BPE vocabulary from documents, as Hugging Face's `BpeTrainer` does: the same merges in the same
/// order, whatever the number of threads.
///
/// The vocabulary is, by id: the 256 bytes in the order of their characters, the merged tokens, GLM's 36 control tokens,
/// and spare tokens for later use.
///
///     var trainer = TokenizerTrainer(vocabularySize: 4096)
///     trainer.add(documents)
///     let tokenizer = try trainer.train()
public struct TokenizerTrainer: Sendable {
    /// All ids together, control and spare tokens included.
    public let vocabularySize: Int
    /// How many spare tokens, `<|reserved_0|>` and on, end the vocabulary. More are added where the documents do not
    /// yield enough merges, so that the size is what was asked for.
    public var spareCount = 28
    /// A pair seen less often is not merged.
    public var minimumCount = 1
    /// Where words end; to be set before documents are added. GLM's takes up to three digits together. With Qwen's, which
    /// takes each for itself, a model need not learn of every number what its digits are.
    public var pattern = SplitPattern.glm

    private let threadCount: Int
    private var counts = WordCounts()

    /// - Parameters:
    ///   - vocabularySize: all ids together, control and spare tokens included.
    ///   - threads: how many to count words with; nil for one a core. It never shows in the result.
    public init(vocabularySize: Int = 4096, threads: Int? = nil) {
        self.vocabularySize = vocabularySize
        threadCount = max(1, threads ?? ProcessInfo.processInfo.activeProcessorCount)
    }

    /// How many different words have been counted.
    public var wordCount: Int { counts.words.count }

    /// Counts the words of documents. May be called again and again: only the counts are kept.
    public mutating func add(_ documents: some Sequence<[UInt8]>) {
        var (batch, byteCount): ([ArraySlice<UInt8>], Int) = ([], 0)
        for document in documents {
            batch.append(contentsOf: Self.stretches(document))
            byteCount += document.count
            if byteCount >= Self.batchSize {
                count(batch)
                (batch, byteCount) = ([], 0)
            }
        }
        count(batch)
    }

    /// Bytes handed to the threads at a time.
    private static let batchSize = 1 << 24
    /// Bytes a thread takes at a time.
    private static let stretchSize = 1 << 18

    /// Cuts a long document where a line feed precedes an ASCII letter: there every pattern ends a piece.
    private static func stretches(_ document: [UInt8]) -> [ArraySlice<UInt8>] {
        var (stretches, start): ([ArraySlice<UInt8>], Int) = ([], 0)
        while document.count - start > stretchSize {
            var end = start + stretchSize
            while end < document.count, document[end - 1] != 0x0A || !(0x61...0x7A).contains(document[end] | 0x20) {
                end += 1
            }
            stretches.append(document[start..<end])
            start = end
        }
        if start < document.count { stretches.append(document[start...]) }
        return stretches
    }

    private mutating func count(_ stretches: [ArraySlice<UInt8>]) {
        if stretches.isEmpty { return }
        let workers = min(threadCount, stretches.count)
        if workers == 1 {
            for stretch in stretches { counts.add(piecesOf: stretch, pattern) }
            return
        }
        let next = Atomic(0)
        let results = Mutex<[WordCounts]>([])
        DispatchQueue.concurrentPerform(iterations: workers) { [pattern] _ in
            var counts = WordCounts()
            while true {
                let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
                if index >= stretches.count { break }
                counts.add(piecesOf: stretches[index], pattern)
            }
            results.withLock { $0.append(counts) }
        }
        for result in results.withLock({ $0 }) { counts.add(result) }
    }

    /// The tokenizer of the words counted so far, of exactly `vocabularySize` ids.
    public func train() throws(TokenizerError) -> Tokenizer {
        let controls = ControlToken.allCases
        let fixedCount = 256 + controls.count + max(0, spareCount)
        guard (fixedCount...1 << 24).contains(vocabularySize) else {
            throw .vocabularySize(vocabularySize, allowed: fixedCount...1 << 24)
        }
        var parts = TokenizerParts()
        (parts.pattern, parts.settings) = (pattern, TokenizerParts.settings(pattern))
        for byte in ByteAlphabet.order { parts.append([byte], .bytes) }
        var learner = MergeLearner(counts, parts)
        learner.learn(tokenCount: vocabularySize - controls.count - max(0, spareCount), minimumCount: minimumCount)
        parts = learner.parts
        parts.ignoresMerges = true

        func append(_ content: String, isSpecial: Bool) {
            parts.addedTokens.append(AddedToken(id: Int32(parts.count), content: content, isSpecial: isSpecial))
            parts.append(content.utf8, .added)
        }
        for control in controls { append(control.rawValue, isSpecial: control.isSpecial) }
        for spare in 0..<(vocabularySize - parts.count) { append("<|reserved_\(spare)|>", isSpecial: true) }

        var merges = MergeTable(count: parts.merges.count)
        for (rank, merge) in parts.merges.enumerated() { _ = merges.insert(merge, rank: rank) }
        let index = learner.index
        return Tokenizer(parts, index: index, indexedIDs: (0..<Int32(index.count)).map { $0 }, merges: merges)
    }
}

/// How often each word, a piece between which merges happen, has been seen.
struct WordCounts: Sendable {
    private(set) var words = ByteTable()
    private(set) var counts: [Int] = []

    mutating func add(piecesOf text: ArraySlice<UInt8>, _ pattern: SplitPattern) {
        text.withUnsafeBufferPointer { text in
            let scanner = PieceScanner(text, pattern)
            var start = 0
            while start < text.count {
                let end = scanner.end(from: start)
                // A lone byte has nothing to merge.
                if end - start > 1 { add(UnsafeBufferPointer(rebasing: text[start..<end]), 1) }
                start = end
            }
        }
    }

    mutating func add(_ other: WordCounts) {
        other.words.arena.withUnsafeBufferPointer { arena in
            for (index, count) in other.counts.enumerated() {
                add(UnsafeBufferPointer(rebasing: arena[other.words.range(index)]), count)
            }
        }
    }

    @inline(__always)
    private mutating func add(_ word: UnsafeBufferPointer<UInt8>, _ count: Int) {
        let hash = words.hash(word)
        if let index = words.find(word, hash: hash) {
            counts[index] += count
        } else {
            words.insert(word, hash: hash)
            counts.append(count)
        }
    }
}

/// Finds merges one by one: the pair seen most often, of equals the one of lower ids.
///
/// Counts of pairs are kept up to date, and a heap proposes them; a proposal whose count has fallen since goes back with
/// the new one. As in Hugging Face's trainer, a proposal carries the words in which the pair arose.
private struct MergeLearner {
    private(set) var parts: TokenizerParts
    /// The index of the tokens, by id.
    private(set) var index = ByteTable()

    private struct Proposal {
        var count: Int
        let pair: UInt64
        let words: [Int32]

        /// Whether this one goes before `other`.
        func precedes(_ other: Proposal) -> Bool {
            count != other.count ? count > other.count : pair < other.pair
        }
    }

    /// The symbols of all words, each word in its own stretch that shrinks from the end.
    private var symbols: [Int32] = []
    private var starts: [Int] = []
    private var lengths: [Int32] = []
    private let wordCounts: [Int]
    private var pairCounts: [UInt64: Int] = [:]
    private var heap: [Proposal] = []
    /// Words in which pairs arose during the current merge.
    private var arisen: [UInt64: [Int32]] = [:]

    init(_ counts: WordCounts, _ parts: TokenizerParts) {
        self.parts = parts
        wordCounts = counts.counts
        for id in 0..<parts.count { _ = index.insert(Array(parts.arena[parts.range(id)])) }
        var idOf = [Int32](repeating: 0, count: 256)
        for (id, byte) in ByteAlphabet.order.enumerated() { idOf[Int(byte)] = Int32(id) }
        symbols = counts.words.arena.map { idOf[Int($0)] }
        for word in 0..<wordCounts.count {
            let range = counts.words.range(word)
            starts.append(range.lowerBound)
            lengths.append(Int32(range.count))
            for k in range.dropFirst() { note(symbols[k - 1], symbols[k], word, change: wordCounts[word]) }
        }
        propose()
    }

    mutating func learn(tokenCount: Int, minimumCount: Int) {
        while parts.count < tokenCount, var top = heap.first {
            let count = pairCounts[top.pair] ?? 0
            if top.count != count {
                top.count = count
                replaceTop(top)
                continue
            }
            if count < max(1, minimumCount) { break }
            pop()
            merge(top)
        }
    }

    private mutating func merge(_ proposal: Proposal) {
        let left = Int32(truncatingIfNeeded: proposal.pair >> 32)
        let right = Int32(truncatingIfNeeded: proposal.pair)
        let bytes = Array(parts.arena[parts.range(Int(left))] + parts.arena[parts.range(Int(right))])
        // The same bytes may have been made of other halves before.
        let (id, isNew) = index.insert(bytes)
        if isNew { parts.append(bytes, .bytes) }
        let result = Int32(id)
        parts.merges.append(Merge(left: left, right: right, result: result))
        for word in proposal.words { merge(left, right, result, inWord: Int(word)) }
        propose()
    }

    private mutating func merge(_ left: Int32, _ right: Int32, _ result: Int32, inWord word: Int) {
        let (start, count) = (starts[word], wordCounts[word])
        let end = start + Int(lengths[word])
        var (from, to) = (start, start)
        while from < end {
            if symbols[from] == left, from + 1 < end, symbols[from + 1] == right {
                if to > start {
                    pairCounts[Self.pair(symbols[to - 1], left), default: 0] -= count
                    note(symbols[to - 1], result, word, change: count)
                }
                if from + 2 < end {
                    pairCounts[Self.pair(right, symbols[from + 2]), default: 0] -= count
                    note(result, symbols[from + 2], word, change: count)
                }
                symbols[to] = result
                from += 2
            } else {
                symbols[to] = symbols[from]
                from += 1
            }
            to += 1
        }
        lengths[word] = Int32(to - start)
    }

    private static func pair(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    private mutating func note(_ left: Int32, _ right: Int32, _ word: Int, change: Int) {
        let pair = Self.pair(left, right)
        pairCounts[pair, default: 0] += change
        let word = Int32(word)
        if arisen[pair]?.last != word { arisen[pair, default: []].append(word) }
    }

    private mutating func propose() {
        for (pair, words) in arisen {
            let count = pairCounts[pair] ?? 0
            if count > 0 { push(Proposal(count: count, pair: pair, words: words)) }
        }
        arisen.removeAll(keepingCapacity: false)
    }

    private mutating func push(_ proposal: Proposal) {
        heap.append(proposal)
        var k = heap.count - 1
        while k > 0, heap[k].precedes(heap[(k - 1) / 2]) {
            heap.swapAt(k, (k - 1) / 2)
            k = (k - 1) / 2
        }
    }

    private mutating func pop() {
        let last = heap.removeLast()
        if !heap.isEmpty { replaceTop(last) }
    }

    private mutating func replaceTop(_ proposal: Proposal) {
        heap[0] = proposal
        var k = 0
        while true {
            var first = k
            for child in (2 * k + 1)...(2 * k + 2) where child < heap.count && heap[child].precedes(heap[first]) {
                first = child
            }
            if first == k { break }
            heap.swapAt(k, first)
            k = first
        }
    }
}

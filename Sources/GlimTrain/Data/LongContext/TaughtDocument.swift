import GlimTensor
public import GlimText

/// A built text, of which some bytes are not learned.
///
/// A random fact cannot be predicted where it is first told: its loss would be noise. Where it is asked for again, it
/// can.
public struct TaughtDocument: Sendable, Equatable {
    public var name: String
    public var bytes: [UInt8]
    /// Ranges of `bytes` that nobody could predict: ascending, apart from each other.
    public var untaught: [Range<Int>]

    public init(name: String, bytes: [UInt8], untaught: [Range<Int>] = []) {
        (self.name, self.bytes, self.untaught) = (name, bytes, untaught)
    }

    /// The tokens, and of each whether it is a target of training: not if any of its bytes is untaught.
    ///
    /// They are those of the bytes encoded as a whole, as evaluation encodes them. Only where the tokenizer changes
    /// text (a normalizer, a space put in front), so that tokens cannot be found in the bytes, the pieces between the
    /// ranges are encoded one by one.
    public func tokens(_ tokenizer: Tokenizer) -> (tokens: [Int32], isTaught: [Bool]) {
        let tokens = tokenizer.encode(bytes)
        if untaught.isEmpty { return (tokens, [Bool](repeating: true, count: tokens.count)) }
        let lengths = tokens.map { (try? tokenizer.bytes(of: $0).count) ?? 0 }
        guard lengths.reduce(0, +) == bytes.count else { return piecewiseTokens(tokenizer) }
        var isTaught: [Bool] = []
        isTaught.reserveCapacity(tokens.count)
        var (start, next) = (0, 0)
        for length in lengths {
            while next < untaught.count, untaught[next].upperBound <= start { next += 1 }
            isTaught.append(next == untaught.count || untaught[next].lowerBound >= start + length)
            start += length
        }
        return (tokens, isTaught)
    }

    private func piecewiseTokens(_ tokenizer: Tokenizer) -> (tokens: [Int32], isTaught: [Bool]) {
        var (tokens, isTaught, start): ([Int32], [Bool], Int) = ([], [], 0)
        func add(_ range: Range<Int>, _ taught: Bool) {
            let piece = range.isEmpty ? [] : tokenizer.encode(Array(bytes[range]))
            tokens += piece
            isTaught += [Bool](repeating: taught, count: piece.count)
        }
        for range in untaught {
            add(start..<range.lowerBound, true)
            add(range, false)
            start = range.upperBound
        }
        add(start..<bytes.count, true)
        return (tokens, isTaught)
    }
}

/// Makes documents of any length, each a function of the builder's seed and the document's number alone.
public protocol DocumentBuilder: Sendable {
    /// - Parameters:
    ///   - index: which document, from 0.
    ///   - byteCount: how long it may be; it is not much shorter where there is text enough.
    func document(_ index: Int, byteCount: Int) -> TaughtDocument
}

/// Takes a document down, line by line or piece by piece.
struct DocumentWriter {
    private(set) var bytes: [UInt8] = []
    private(set) var untaught: [Range<Int>] = []

    mutating func write(_ text: String) { bytes += text.utf8 }
    mutating func write(_ text: some Sequence<UInt8>) { bytes += text }

    mutating func writeUntaught(_ text: String) {
        let start = bytes.count
        bytes += text.utf8
        untaught.append(start..<bytes.count)
    }

    func document(_ name: String) -> TaughtDocument { TaughtDocument(name: name, bytes: bytes, untaught: untaught) }
}

/// Draws from a stream one after the other.
struct DrawSequence {
    private let random: CounterRandom
    private var index: UInt64 = 0

    init(_ random: CounterRandom) { self.random = random }

    init(seed: UInt64, purpose: String) { self.init(CounterRandom(seed: seed, purpose: purpose)) }

    mutating func integer(below bound: Int) -> Int {
        defer { index += 1 }
        return random.integer(index, below: bound)
    }

    mutating func integer(from low: Int, through high: Int) -> Int { low + integer(below: high - low + 1) }

    mutating func chance(_ probability: Double) -> Bool {
        defer { index += 1 }
        return random.uniform(index) < probability
    }

    mutating func pick<T>(_ values: [T]) -> T { values[integer(below: values.count)] }

    /// Different integers in the order of drawing; the range must hold as many.
    mutating func distinct(_ count: Int, from low: Int, through high: Int) -> [Int] {
        var drawn: [Int] = []
        while drawn.count < count {
            let next = integer(from: low, through: high)
            if !drawn.contains(next) { drawn.append(next) }
        }
        return drawn
    }
}

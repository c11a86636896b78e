/// Ends a text before the first of some strings, as the text arrives in pieces.
///
/// Of all places where one of the strings stands the first counts; of several strings that begin there the longest. What
/// may be the beginning of one is held back until it is known, so the text that is handed out and the string that is found
/// are the same however the text was cut, also within a character. Time is linear in the text (Aho and Corasick:
/// Efficient string matching, 1975). A value: a copy goes its own way.
///
/// ```swift
/// var stops = StopStrings(request.sampling.stop)
/// for piece in pieces where stops.found == nil { print(stops.push(piece)) }
/// print(stops.finish())
/// ```
public struct StopStrings: Sendable {
    private struct Node: Sendable {
        /// Bytes that lead to it.
        let depth: Int
        /// Whether a string goes on from here.
        var goesOn = false
        /// Bytes at the end of the text that a string may go on from.
        var open = 0
        /// The node of the longest other beginning of a string that this one ends with.
        var fallback: Int32 = 0
        /// The longest string that this one ends with, itself among them; -1 for none.
        var string: Int32 = -1
    }

    private let strings: [[UInt8]]
    private let texts: [String]
    private var nodes = [Node(depth: 0)]
    private var children: [UInt64: Int32] = [:]

    private var node: Int32 = 0
    /// Bytes that were not handed out, behind some that were; and where in the text the former begin.
    private var held: [UInt8] = []
    private var passed = 0
    private var start = 0
    /// The string that ends the text unless a longer one does, and where it begins.
    private var match: (string: Int32, start: Int)?
    private var stream = TextStream()
    private var isOver = false

    /// The string that ended the text.
    public private(set) var found: String?

    /// - Parameter strings: an empty one is never found; of two that are equal, the first is.
    public init(_ strings: [String]) {
        texts = strings
        self.strings = strings.map { Array($0.utf8) }
        for (number, string) in self.strings.enumerated() where !string.isEmpty {
            var node: Int32 = 0
            for byte in string {
                if let child = children[Self.key(node, byte)] {
                    node = child
                } else {
                    nodes[Int(node)].goesOn = true
                    nodes.append(Node(depth: nodes[Int(node)].depth + 1))
                    children[Self.key(node, byte)] = Int32(nodes.count - 1)
                    node = Int32(nodes.count - 1)
                }
            }
            if nodes[Int(node)].string < 0 { nodes[Int(node)].string = Int32(number) }
        }
        let edges = children.map {
            (parent: Int($0.key >> 8), byte: UInt8(truncatingIfNeeded: $0.key), child: Int($0.value))
        }
        // Shallow ones first: a fallback is always shallower.
        for (parent, byte, child) in edges.sorted(by: { nodes[$0.child].depth < nodes[$1.child].depth }) {
            let fallback = parent == 0 ? 0 : next(nodes[parent].fallback, byte)
            nodes[child].fallback = fallback
            nodes[child].open = nodes[child].goesOn ? nodes[child].depth : nodes[Int(fallback)].open
            if nodes[child].string < 0 { nodes[child].string = nodes[Int(fallback)].string }
        }
    }

    private static func key(_ node: Int32, _ byte: UInt8) -> UInt64 { UInt64(node) << 8 | UInt64(byte) }

    private func next(_ node: Int32, _ byte: UInt8) -> Int32 {
        var node = node
        while true {
            if let child = children[Self.key(node, byte)] { return child }
            if node == 0 { return 0 }
            node = nodes[Int(node)].fallback
        }
    }

    /// The text that is certain with these bytes. Once a string is found there is none.
    public mutating func push(_ bytes: some Sequence<UInt8>) -> String {
        if isOver { return "" }
        for byte in bytes {
            node = next(node, byte)
            held.append(byte)
            let state = nodes[Int(node)]
            if state.string >= 0 {
                let begin = position - strings[Int(state.string)].count
                // What begins earlier wins, and behind the same beginning what ends later.
                if begin <= match?.start ?? .max { match = (state.string, begin) }
            }
            // Whatever may still be found begins with the open bytes, or later.
            if let match, match.start < position - state.open { return end(match) }
        }
        return release(min(match?.start ?? .max, position - nodes[Int(node)].open) - start)
    }

    /// The same for a piece of text.
    public mutating func push(_ text: String) -> String { push(text.utf8) }

    /// The rest, at the end of the text. Nothing may follow.
    public mutating func finish() -> String {
        if isOver { return "" }
        if let match { return end(match) }
        isOver = true
        return release(position - start) + stream.finish()
    }

    /// Bytes of the text so far.
    private var position: Int { start + held.count - passed }

    private mutating func release(_ count: Int) -> String {
        defer {
            (start, passed) = (start + count, passed + count)
            // Seldom, so that each byte is moved about once.
            if passed > held.count / 2 {
                held.removeFirst(passed)
                passed = 0
            }
        }
        return stream.push(held[passed..<passed + count])
    }

    private mutating func end(_ match: (string: Int32, start: Int)) -> String {
        isOver = true
        found = texts[Int(match.string)]
        return release(match.start - start) + stream.finish()
    }
}

/// A deterministic automaton over bytes. From each of its states an accepting one can be reached.
struct ByteMachine: Hashable, Sendable {
    struct Edge: Hashable, Sendable {
        let low: UInt8
        let high: UInt8
        var target: Int32
    }

    /// The edges of each state, ascending and disjoint. The first state is where it starts.
    private(set) var edges: [[Edge]] = []
    private(set) var accepting: [Bool] = []

    /// Why a machine cannot be made.
    enum Failure: Error { case tooLarge }

    static let largestCount = 10_000

    private init() {}

    /// The machine with these states, without those that lead nowhere; nil where it accepts nothing.
    init?(edges: [[Edge]], accepting: [Bool]) {
        var sources = [[Int]](repeating: [], count: edges.count)
        for (state, out) in edges.enumerated() { for edge in out { sources[Int(edge.target)].append(state) } }
        var isAlive = accepting
        var pending = accepting.indices.filter { accepting[$0] }
        while let state = pending.popLast() {
            for source in sources[state] where !isAlive[source] {
                isAlive[source] = true
                pending.append(source)
            }
        }
        guard isAlive.first == true else { return nil }
        var numbers = [Int32](repeating: -1, count: edges.count)
        var count: Int32 = 0
        for state in edges.indices where isAlive[state] {
            numbers[state] = count
            count += 1
        }
        for state in edges.indices where isAlive[state] {
            var kept: [Edge] = []
            for edge in edges[state] where isAlive[Int(edge.target)] {
                let target = numbers[Int(edge.target)]
                if let last = kept.last, last.target == target, last.high < edge.low, last.high + 1 == edge.low {
                    kept[kept.count - 1] = Edge(low: last.low, high: edge.high, target: target)
                } else {
                    kept.append(Edge(low: edge.low, high: edge.high, target: target))
                }
            }
            self.edges.append(kept)
            self.accepting.append(accepting[state])
        }
    }

    /// Accepts each of these texts; nil where there is none.
    init?(texts: [[UInt8]]) {
        var machine = ByteMachine()
        machine.addState()
        for text in texts {
            var state = 0
            for byte in text {
                if let edge = machine.edges[state].first(where: { $0.low == byte }) {
                    state = Int(edge.target)
                    continue
                }
                let target = Int32(machine.addState())
                let place = machine.edges[state].firstIndex { $0.low > byte } ?? machine.edges[state].count
                machine.edges[state].insert(Edge(low: byte, high: byte, target: target), at: place)
                state = Int(target)
            }
            machine.accepting[state] = true
        }
        if texts.isEmpty { return nil }
        self = machine
    }

    @discardableResult
    private mutating func addState() -> Int {
        edges.append([])
        accepting.append(false)
        return edges.count - 1
    }

    func accepts(_ text: some Sequence<UInt8>) -> Bool {
        var state = 0
        for byte in text {
            guard let edge = edges[state].first(where: { $0.low <= byte && byte <= $0.high }) else { return false }
            state = Int(edge.target)
        }
        return accepting[state]
    }

    /// What both accept; nil where there is nothing.
    func intersection(_ other: ByteMachine) throws(Failure) -> ByteMachine? {
        var (numbers, pairs): ([UInt64: Int32], [(Int, Int)]) = ([0: 0], [(0, 0)])
        var (edges, accepting): ([[Edge]], [Bool]) = ([], [])
        while edges.count < pairs.count {
            let (a, b) = pairs[edges.count]
            var out: [Edge] = []
            var (i, j) = (0, 0)
            while i < self.edges[a].count, j < other.edges[b].count {
                let (x, y) = (self.edges[a][i], other.edges[b][j])
                let (low, high) = (max(x.low, y.low), min(x.high, y.high))
                if low <= high {
                    let key = UInt64(x.target) << 32 | UInt64(y.target)
                    let number = numbers[key] ?? Int32(pairs.count)
                    if number == pairs.count {
                        numbers[key] = number
                        pairs.append((Int(x.target), Int(y.target)))
                        if pairs.count > Self.largestCount { throw .tooLarge }
                    }
                    out.append(Edge(low: low, high: high, target: number))
                }
                if x.high < y.high { i += 1 } else { j += 1 }
            }
            edges.append(out)
            accepting.append(self.accepting[a] && other.accepting[b])
        }
        return ByteMachine(edges: edges, accepting: accepting)
    }
}

extension ByteMachine {
    private static let digits: ClosedRange<UInt8> = 0x30...0x39

    /// - Parameter edges: from a state, by some bytes, to a state.
    private init(accepting: [Bool], _ edges: [(Int, ClosedRange<UInt8>, Int32)]) {
        self.accepting = accepting
        self.edges = accepting.indices.map { state in
            edges.filter { $0.0 == state }.map { Edge(low: $0.1.lowerBound, high: $0.1.upperBound, target: $0.2) }
                .sorted { $0.low < $1.low }
        }
    }

    private static func one(_ scalar: Unicode.Scalar) -> ClosedRange<UInt8> {
        UInt8(ascii: scalar)...UInt8(ascii: scalar)
    }

    /// Any number, however it is spelled.
    static let number = ByteMachine(
        accepting: [false, false, true, true, false, true, false, false, true],
        [
            (0, one("-"), 1), (0, one("0"), 2), (0, 0x31...0x39, 3), (1, one("0"), 2), (1, 0x31...0x39, 3),
            (2, one("."), 4), (2, one("E"), 6), (2, one("e"), 6),
            (3, digits, 3), (3, one("."), 4), (3, one("E"), 6), (3, one("e"), 6), (4, digits, 5),
            (5, digits, 5), (5, one("E"), 6), (5, one("e"), 6),
            (6, one("+"), 7), (6, one("-"), 7), (6, digits, 8), (7, digits, 8), (8, digits, 8),
        ])

    /// Any integer without fraction, exponent or negative zero.
    static let integer = ByteMachine(
        accepting: [false, false, true, true],
        [
            (0, one("-"), 1), (0, one("0"), 2), (0, 0x31...0x39, 3), (1, 0x31...0x39, 3), (3, digits, 3),
        ])
}

/// The machines of a schema, one after the other in one table, so that a state is a number.
struct MachineTable: Sendable {
    private var edges: [ByteMachine.Edge] = []
    /// Where the edges of each state begin; one more at the end.
    private var starts: [Int32] = [0]
    private var accepting: [Bool] = []
    private var isPattern: [Bool] = []
    private var known: [ByteMachine: Int32] = [:]

    /// Adds a machine and returns the state where it starts.
    ///
    /// - Parameter isPattern: it reads a string of which a great many tokens may be part.
    mutating func add(_ machine: ByteMachine, isPattern: Bool) -> Int32 {
        if let start = known[machine] { return start }
        let start = Int32(accepting.count)
        known[machine] = start
        for (state, out) in machine.edges.enumerated() {
            edges += out.map { ByteMachine.Edge(low: $0.low, high: $0.high, target: $0.target + start) }
            starts.append(Int32(edges.count))
            accepting.append(machine.accepting[state])
            self.isPattern.append(isPattern)
        }
        return start
    }

    /// The state behind the byte, -1 where there is none.
    @inline(__always)
    func next(_ state: Int32, _ byte: UInt8) -> Int32 {
        var k = Int(starts[Int(state)])
        let end = Int(starts[Int(state) + 1])
        while k < end {
            let edge = edges[k]
            if byte < edge.low { return -1 }
            if byte <= edge.high { return edge.target }
            k += 1
        }
        return -1
    }

    func accepts(_ state: Int32) -> Bool { accepting[Int(state)] }

    /// Whether the text is over: nothing can follow.
    func isTerminal(_ state: Int32) -> Bool { starts[Int(state)] == starts[Int(state) + 1] }

    func isPattern(_ state: Int32) -> Bool { isPattern[Int(state)] }
}

extension ByteMachine {
    /// Reads a JSON string, quotation marks included, whose text is the expression's: each character in its one shortest
    /// spelling, as ``StringLexer/oneSpelling`` has it. nil where there is no such text.
    init?(string expression: PatternExpression) throws(Failure) {
        var graph = PatternGraph()
        let start = graph.addState()
        let (first, last) = (graph.addState(), graph.addState())
        graph.addEdge(start, UInt8(ascii: "\""), UInt8(ascii: "\""), first)
        let end = try graph.add(expression, from: first)
        graph.addEdge(end, UInt8(ascii: "\""), UInt8(ascii: "\""), last)
        guard let machine = try graph.machine(from: start, to: last) else { return nil }
        self = machine
    }
}

/// An automaton that may be in many states at once, on the way from an expression to a machine (Thompson's
/// construction, then that of subsets).
private struct PatternGraph {
    private var edges: [[ByteMachine.Edge]] = []
    private var free: [[Int32]] = []

    /// States of the graph, and steps of the subset construction, that are worth the time.
    private static let largestCount = 50_000
    private static let largestWork = 4_000_000

    mutating func addState() -> Int32 {
        edges.append([])
        free.append([])
        return Int32(edges.count - 1)
    }

    mutating func addEdge(_ from: Int32, _ low: UInt8, _ high: UInt8, _ target: Int32) {
        edges[Int(from)].append(ByteMachine.Edge(low: low, high: high, target: target))
    }

    /// Adds what reads the expression from this state on, and returns the state behind it.
    mutating func add(_ expression: PatternExpression, from start: Int32) throws(ByteMachine.Failure) -> Int32 {
        if edges.count > Self.largestCount { throw .tooLarge }
        switch expression {
        case .set(let set): return add(set, from: start)
        case .sequence(let parts):
            var state = start
            for part in parts { state = try add(part, from: state) }
            return state
        case .choice(let choices):
            let end = addState()
            for choice in choices {
                let last = try add(choice, from: start)
                free[Int(last)].append(end)
            }
            return end
        case .repeated(let part, let least, let most):
            var state = start
            for _ in 0..<least { state = try add(part, from: state) }
            guard let most else {
                // The loop has a state of its own, so that what comes before does not become part of it.
                let loop = addState()
                free[Int(state)].append(loop)
                let last = try add(part, from: loop)
                free[Int(last)].append(loop)
                let end = addState()
                free[Int(loop)].append(end)
                return end
            }
            let end = addState()
            for _ in least..<max(least, most) {
                free[Int(state)].append(end)
                state = try add(part, from: state)
            }
            free[Int(state)].append(end)
            return end
        }
    }

    // MARK: Characters

    private mutating func add(_ set: ScalarSet, from start: Int32) -> Int32 {
        let end = addState()
        addEscapes(set, from: start, to: end)
        for range in set.ranges where range.upperBound >= 0x20 {
            let plain = max(range.lowerBound, 0x20)...range.upperBound
            // Quotation mark and backslash are escaped.
            var low = plain.lowerBound
            for escaped in [UInt32(0x22), 0x5C] where plain.contains(escaped) {
                if low < escaped { addPlain(low...escaped - 1, from: start, to: end) }
                low = escaped + 1
            }
            if low <= plain.upperBound { addPlain(low...plain.upperBound, from: start, to: end) }
        }
        return end
    }

    private mutating func addEscapes(_ set: ScalarSet, from start: Int32, to end: Int32) {
        let short: [(UInt32, Unicode.Scalar)] = [
            (0x22, "\""), (0x5C, "\\"), (0x08, "b"), (0x09, "t"), (0x0A, "n"), (0x0C, "f"), (0x0D, "r"),
        ]
        let long = (UInt32(0)..<0x20).filter { scalar in !short.contains { $0.0 == scalar } && set.contains(scalar) }
        let letters = short.filter { set.contains($0.0) }.map { UInt8(ascii: $0.1) }
        if letters.isEmpty, long.isEmpty { return }
        let escape = addState()
        addEdge(start, UInt8(ascii: "\\"), UInt8(ascii: "\\"), escape)
        for letter in letters { addEdge(escape, letter, letter, end) }
        if long.isEmpty { return }
        var state = escape
        for byte in "u00".utf8 {
            let next = addState()
            addEdge(state, byte, byte, next)
            state = next
        }
        for half in [UInt32(0), 1] {
            let digits = long.filter { $0 >> 4 == half }.map { Array("0123456789abcdef".utf8)[Int($0 & 15)] }
            if digits.isEmpty { continue }
            let next = addState()
            addEdge(state, 0x30 + UInt8(half), 0x30 + UInt8(half), next)
            for digit in digits { addEdge(next, digit, digit, end) }
        }
    }

    /// The UTF-8 of a range, as sequences of ranges of bytes.
    private mutating func addPlain(_ range: ClosedRange<UInt32>, from start: Int32, to end: Int32) {
        // Parts of one length, and then such that each byte's range is free of the others'.
        for limit in [UInt32(0x7F), 0x7FF, 0xFFFF] where range.lowerBound <= limit && range.upperBound > limit {
            addPlain(range.lowerBound...limit, from: start, to: end)
            return addPlain(limit + 1...range.upperBound, from: start, to: end)
        }
        let (low, high) = (range.lowerBound, range.upperBound)
        let length = low <= 0x7F ? 1 : low <= 0x7FF ? 2 : low <= 0xFFFF ? 3 : 4
        for count in 1..<max(length, 1) {
            let rest = (UInt32(1) << (6 * UInt32(count))) - 1
            if low & ~rest == high & ~rest { continue }
            if low & rest != 0 {
                addPlain(low...low | rest, from: start, to: end)
                return addPlain((low | rest) + 1...high, from: start, to: end)
            }
            if high & rest != rest {
                addPlain(low...(high & ~rest) - 1, from: start, to: end)
                return addPlain(high & ~rest...high, from: start, to: end)
            }
        }
        var state = start
        let bytes = Array(zip(Self.utf8(low, length), Self.utf8(high, length)))
        for (k, (first, last)) in bytes.enumerated() {
            let next = k == bytes.count - 1 ? end : addState()
            addEdge(state, first, last, next)
            state = next
        }
    }

    private static func utf8(_ value: UInt32, _ length: Int) -> [UInt8] {
        let lead: [UInt32] = [0, 0, 0xC0, 0xE0, 0xF0]
        return (0..<length).map { k in
            let shifted = value >> (6 * UInt32(length - 1 - k))
            return UInt8(truncatingIfNeeded: k == 0 ? lead[length] | shifted : 0x80 | shifted & 0x3F)
        }
    }

    // MARK: Subsets

    func machine(from start: Int32, to end: Int32) throws(ByteMachine.Failure) -> ByteMachine? {
        var work = 0
        var numbers: [[Int32]: Int32] = [:]
        var sets: [[Int32]] = []
        var (out, accepting): ([[ByteMachine.Edge]], [Bool]) = ([], [])
        func number(_ targets: [Int32]) -> Int32 {
            let set = closure(targets)
            if let known = numbers[set] { return known }
            numbers[set] = Int32(sets.count)
            sets.append(set)
            return Int32(sets.count - 1)
        }
        _ = number([start])
        while out.count < sets.count {
            let set = sets[out.count]
            let edges = set.flatMap { self.edges[Int($0)] }
            work += set.count + edges.count * edges.count / 8
            if sets.count > ByteMachine.largestCount || work > Self.largestWork { throw .tooLarge }
            var cuts = Set<Int>()
            for edge in edges {
                cuts.insert(Int(edge.low))
                cuts.insert(Int(edge.high) + 1)
            }
            var found: [ByteMachine.Edge] = []
            let ordered = cuts.sorted()
            for (low, next) in zip(ordered, ordered.dropFirst()) {
                let targets = edges.filter { $0.low <= low && low <= $0.high }.map(\.target)
                if targets.isEmpty { continue }
                found.append(ByteMachine.Edge(low: UInt8(low), high: UInt8(next - 1), target: number(targets)))
            }
            out.append(found)
            accepting.append(set.contains(end))
        }
        return ByteMachine(edges: out, accepting: accepting)
    }

    /// What can be reached without reading, in ascending order.
    private func closure(_ states: [Int32]) -> [Int32] {
        var (reached, pending) = (Set(states), states)
        while let state = pending.popLast() {
            for next in free[Int(state)] where reached.insert(next).inserted { pending.append(next) }
        }
        // A state that reads nothing and is not the end says no more than those behind it.
        return reached.filter { !edges[Int($0)].isEmpty || free[Int($0)].isEmpty }.sorted()
    }
}

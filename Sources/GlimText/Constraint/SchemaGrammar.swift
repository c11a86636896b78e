/// A schema as an automaton over bytes: what a document may go on with, wherever it stands. ``Configuration`` is where.
///
/// From every place that it leads to a document can be ended: what cannot be completed within the greatest depth is not
/// begun.
final class SchemaGrammar: Sendable {
    /// Containers within each other, as many as Glim's own reader of JSON takes.
    static let maximumDepth = 64
    /// The height of what cannot be had.
    private static let unreachable = maximumDepth + 1

    /// How a value may begin: by kinds, numbers of what follows below.
    struct Node: Sendable {
        /// The containers within each other that the flattest value needs.
        fileprivate(set) var height = unreachable
        /// States of `machines`.
        fileprivate(set) var texts: [Int32] = []
        fileprivate(set) var strings: [StringLength] = []
        fileprivate(set) var numbers: [Int] = []
        fileprivate(set) var arrays: [Int] = []
        fileprivate(set) var objects: [Int] = []
    }

    /// Of Unicode scalars.
    struct StringLength: Hashable, Sendable {
        let least: Int
        let most: Int
    }

    struct ArrayShape: Hashable, Sendable {
        let rule: ArrayRule
        let height: Int

        /// Items beyond this count are alike.
        var countingLimit: Int { rule.most ?? max(rule.prefix.count, rule.least) }
    }

    struct ObjectShape: Hashable, Sendable {
        let rule: ObjectRule
        let height: Int
        let requiredCount: Int
    }

    let root: Int
    let nodes: [Node]
    let arrays: [ArrayShape]
    let objects: [ObjectShape]
    let numbers: [NumberRange]
    let machines: MachineTable

    /// - Parameters:
    ///   - choices: of each node.
    ///   - pointers: what errors call the place of each node.
    ///   - patterns: what reads each pattern, nil where no string fits it.
    init(
        _ choices: [[SchemaChoice]], root: Int, pointers: [String], patterns: [ByteMachine?]
    ) throws(SchemaError) {
        var (nodes, ranges, strings) = ([Node](), Numbered<NumberRange>(), [StringRule: ByteMachine?]())
        var machines = MachineTable()
        for (number, choices) in choices.enumerated() {
            var (node, literals) = (Node(), [[UInt8]]())
            for choice in choices {
                switch choice {
                case .literal(let literal): literals.append(literal.text)
                case .number(let rule) where !rule.isBounded:
                    let machine = rule.isInteger ? ByteMachine.integer : .number
                    node.texts.append(machines.add(machine, isPattern: false))
                case .number(let rule):
                    do {
                        node.numbers.append(ranges.number(try NumberRange(rule)))
                    } catch {
                        if error == .tooLarge { throw SchemaError(pointers[number], "its bounds are too large") }
                    }
                case .string(let rule) where rule.patterns.isEmpty:
                    node.strings.append(StringLength(least: rule.least, most: rule.most ?? .max))
                case .string(let rule):
                    do {
                        let known = strings[rule]
                        let machine = try known ?? Self.machine(rule, patterns)
                        strings[rule] = .some(machine)
                        if let machine { node.texts.append(machines.add(machine, isPattern: true)) }
                    } catch {
                        throw SchemaError(pointers[number], "its patterns and lengths together are too large")
                    }
                case .array, .object: break
                }
            }
            if let machine = ByteMachine(texts: literals) {
                node.texts.append(machines.add(machine, isPattern: false))
            }
            if !node.texts.isEmpty || !node.strings.isEmpty || !node.numbers.isEmpty { node.height = 0 }
            nodes.append(node)
        }
        let heights = Self.heights(nodes.map(\.height), choices)
        var (arrays, objects) = (Numbered<ArrayShape>(), Numbered<ObjectShape>())
        for (number, choices) in choices.enumerated() {
            nodes[number].height = heights[number]
            for choice in choices {
                let height = Self.height(of: choice, heights)
                if height >= Self.unreachable { continue }
                switch choice {
                case .array(let rule):
                    nodes[number].arrays.append(arrays.number(ArrayShape(rule: rule, height: height)))
                case .object(let rule):
                    let count = rule.properties.count(where: \.isRequired)
                    let shape = ObjectShape(rule: rule, height: height, requiredCount: count)
                    nodes[number].objects.append(objects.number(shape))
                default: break
                }
            }
        }
        guard heights[root] < Self.unreachable else {
            throw SchemaError("#", "no value fits it that is at most \(Self.maximumDepth) deep")
        }
        (self.root, self.nodes, self.machines) = (root, nodes, machines)
        (self.arrays, self.objects, numbers) = (arrays.list, objects.list, ranges.list)
    }

    /// What reads a string that must match patterns, and may have to have some length.
    private static func machine(
        _ rule: StringRule, _ patterns: [ByteMachine?]
    ) throws(ByteMachine.Failure) -> ByteMachine? {
        var parts: [ByteMachine] = []
        for pattern in rule.patterns {
            guard let machine = patterns[pattern] else { return nil }
            parts.append(machine)
        }
        if rule.least > 0 || rule.most != nil {
            let length = PatternExpression.repeated(.set(.all), least: rule.least, most: rule.most)
            guard let machine = try ByteMachine(string: length) else { return nil }
            parts.append(machine)
        }
        var result: ByteMachine? = parts[0]
        for part in parts.dropFirst() { result = try result?.intersection(part) }
        return result
    }

    // MARK: Heights

    /// The least heights that agree with each other: a node that cannot do without itself stays unreachable.
    private static func heights(_ scalar: [Int], _ choices: [[SchemaChoice]]) -> [Int] {
        var heights = scalar
        var isSettled = false
        while !isSettled {
            isSettled = true
            // What is referred to mostly comes later.
            for node in choices.indices.reversed() {
                for choice in choices[node] {
                    let height = Self.height(of: choice, heights)
                    if height < heights[node] { (heights[node], isSettled) = (height, false) }
                }
            }
        }
        return heights
    }

    /// - Returns: `unreachable` for what is no container: that is known already.
    private static func height(of choice: SchemaChoice, _ heights: [Int]) -> Int {
        var inner = 0
        switch choice {
        case .array(let rule):
            for node in rule.prefix.prefix(rule.least) { inner = max(inner, heights[node]) }
            if rule.least > rule.prefix.count { inner = max(inner, heights[rule.rest]) }
        case .object(let rule):
            var others: [Int] = []
            for property in rule.properties {
                if property.isRequired {
                    inner = max(inner, heights[property.node])
                } else {
                    others.append(heights[property.node])
                }
            }
            let missing = rule.least - (rule.properties.count - others.count)
            if missing > 0 {
                // Of additional ones there are as many as one likes.
                let known = others.count < missing ? unreachable : others.sorted()[missing - 1]
                inner = max(inner, min(known, heights[rule.additional]))
            }
        default: return unreachable
        }
        return min(inner + 1, unreachable)
    }
}

/// Different things in the order in which they came.
private struct Numbered<Element: Hashable> {
    private(set) var list: [Element] = []
    private var numbers: [Element: Int] = [:]

    mutating func number(_ element: Element) -> Int {
        if let number = numbers[element] { return number }
        list.append(element)
        numbers[element] = list.count - 1
        return list.count - 1
    }
}

/// Brings a schema to nodes of choices.
///
/// What several schemas demand of one value at once (`allOf`, keywords beside a `$ref`) is one node for their set, made
/// when it is needed: there are finitely many sets, so a schema that refers to itself comes to an end.
struct SchemaCompiler {
    /// A part of the schema that demands something by itself.
    private enum Atom {
        case nothing
        case place(SchemaPlace)
        case value(JSON)
    }

    private struct Node {
        /// Ascending. A value must fit them all.
        let atoms: [Int]
        var choices: [SchemaChoice]?
        var isOpen = false
    }

    /// The node that every value fits, and the one that none does.
    static let anyNode = 0
    private static let noNode = 1

    private static let anyChoices: [SchemaChoice] =
        [JSON.null, .bool(true), .bool(false)].compactMap { LiteralRule($0).map(SchemaChoice.literal) }
        + [.number(NumberRule()), .string(StringRule()), .array(ArrayRule()), .object(ObjectRule())]

    /// Choices that are compared or made in all: what a request may cost.
    private static let largestWork = 1_000_000
    private static let largestNodeCount = 20_000
    /// References and unions within each other without a value between them.
    private static let largestDepth = 100

    private let root: JSON
    private var atoms = [Atom.nothing]
    /// By pointers, and by values behind an `=`.
    private var atomNumbers: [[UInt8]: Int] = [:]
    private var nodes = [Node(atoms: [], choices: anyChoices), Node(atoms: [0], choices: [])]
    private var nodeNumbers: [[Int]: Int] = [[]: anyNode, [0]: noNode]
    /// What reads each pattern, nil where no string fits it; and their numbers by their UTF-8.
    private var machines: [ByteMachine?] = []
    private var machineNumbers: [[UInt8]: Int] = [:]
    private var work = 0
    private var depth = 0

    private init(_ root: JSON) { self.root = root }

    static func compile(_ schema: JSON) throws(SchemaError) -> SchemaGrammar {
        var compiler = SchemaCompiler(schema)
        let root = try compiler.node(of: schema, at: "#")
        var next = 0
        while next < compiler.nodes.count {
            _ = try compiler.choices(of: next)
            next += 1
        }
        let nodes = compiler.nodes.indices
        return try SchemaGrammar(
            nodes.map { compiler.nodes[$0].choices ?? [] }, root: root, pointers: nodes.map(compiler.pointer),
            patterns: compiler.machines)
    }

    // MARK: Nodes

    private mutating func node(of schema: JSON, at pointer: String) throws(SchemaError) -> Int {
        switch schema {
        case .bool(let flag): return flag ? Self.anyNode : Self.noNode
        case .object(let members):
            if members.isEmpty { return Self.anyNode }
            return try node([atom(.place(SchemaPlace(json: schema, pointer: pointer)), Array(pointer.utf8))])
        default: throw SchemaError(pointer, "a schema is an object, true or false")
        }
    }

    private mutating func node(of value: JSON) throws(SchemaError) -> Int {
        try node([atom(.value(value), Array("=\(value.compact)".utf8))])
    }

    private mutating func atom(_ atom: Atom, _ key: [UInt8]) -> Int {
        if let number = atomNumbers[key] { return number }
        atoms.append(atom)
        atomNumbers[key] = atoms.count - 1
        return atoms.count - 1
    }

    private mutating func node(_ atoms: [Int]) throws(SchemaError) -> Int {
        if let number = nodeNumbers[atoms] { return number }
        if nodes.count > Self.largestNodeCount { throw tooLarge("#") }
        nodes.append(Node(atoms: atoms))
        nodeNumbers[atoms] = nodes.count - 1
        return nodes.count - 1
    }

    /// The node of what fits both.
    private mutating func merged(_ a: Int, _ b: Int) throws(SchemaError) -> Int {
        if a == b || b == Self.anyNode { return a }
        if a == Self.anyNode { return b }
        if a == Self.noNode || b == Self.noNode { return Self.noNode }
        return try node(Set(nodes[a].atoms + nodes[b].atoms).sorted())
    }

    private func pointer(of node: Int) -> String {
        for atom in nodes[node].atoms { if case .place(let place) = atoms[atom] { return place.pointer } }
        return "#"
    }

    private func tooLarge(_ pointer: String) -> SchemaError {
        SchemaError(pointer, "it is too large: its unions and references multiply")
    }

    private mutating func choices(of number: Int) throws(SchemaError) -> [SchemaChoice] {
        if let known = nodes[number].choices { return known }
        if nodes[number].isOpen {
            throw SchemaError(pointer(of: number), "it refers to itself with no value in between")
        }
        if depth > Self.largestDepth {
            throw SchemaError(pointer(of: number), "references and unions nested more than \(Self.largestDepth) deep")
        }
        nodes[number].isOpen = true
        depth += 1
        var result = Self.anyChoices
        let parts = nodes[number].atoms
        for part in parts {
            if parts.count > 1 {
                result = try intersection(result, try choices(of: try node([part])), pointer(of: number))
                continue
            }
            switch atoms[part] {
            case .nothing: result = []
            case .value(let value): result = [try choice(of: value)]
            case .place(let place): result = try choices(at: place)
            }
        }
        depth -= 1
        nodes[number].choices = result
        return result
    }

    // MARK: Keywords

    private mutating func choices(at place: SchemaPlace) throws(SchemaError) -> [SchemaChoice] {
        try place.checkKeywords()
        var result = try choices(byTypeAt: place)
        let constant = place.value("const").map { [$0] }
        for values in [try place.list("enum"), constant] {
            guard let values else { continue }
            var choices: [SchemaChoice] = []
            for value in values { choices.append(try choice(of: value)) }
            result = try intersection(result, unique(choices), place.pointer)
        }
        for keyword in ["anyOf", "oneOf"] {
            guard let schemas = try place.list(keyword) else { continue }
            var union: [SchemaChoice] = []
            for (index, schema) in schemas.enumerated() {
                union += try choices(of: try node(of: schema, at: place.path(keyword, "\(index)")))
            }
            result = try intersection(result, unique(union), place.pointer)
        }
        for (index, schema) in (try place.list("allOf") ?? []).enumerated() {
            let part = try node(of: schema, at: place.path("allOf", "\(index)"))
            result = try intersection(result, try choices(of: part), place.pointer)
        }
        if let reference = place.value("$ref") {
            let target = try target(of: reference, at: place)
            result = try intersection(result, try choices(of: target), place.pointer)
        }
        return result
    }

    private mutating func choices(byTypeAt place: SchemaPlace) throws(SchemaError) -> [SchemaChoice] {
        let types = try place.types()
        let (number, string) = (try numberRule(place, types), try stringRule(place))
        let (array, object) = (try arrayRule(place), try objectRule(place))
        var result: [SchemaChoice] = []
        func add(_ value: JSON) { if let literal = LiteralRule(value) { result.append(.literal(literal)) } }
        if types.contains("null") { add(.null) }
        if types.contains("boolean") {
            add(.bool(true))
            add(.bool(false))
        }
        if types.contains("number") || types.contains("integer") { result.append(.number(number)) }
        if types.contains("string"), let string { result.append(.string(string)) }
        if types.contains("array"), let array { result.append(.array(array)) }
        if types.contains("object"), let object { result.append(.object(object)) }
        return result
    }

    private func numberRule(_ place: SchemaPlace, _ types: Set<String>) throws(SchemaError) -> NumberRule {
        var rule = NumberRule()
        rule.isInteger = !types.contains("number")
        if let bound = try place.bound("minimum", isExclusive: false) { rule.raise(bound) }
        if let bound = try place.bound("exclusiveMinimum", isExclusive: true) { rule.raise(bound) }
        if let bound = try place.bound("maximum", isExclusive: false) { rule.reduce(bound) }
        if let bound = try place.bound("exclusiveMaximum", isExclusive: true) { rule.reduce(bound) }
        if let name = place.value("format")?.string, case let (least, most)?? = SchemaFormat.numbers[name] {
            rule.raise(NumberRule.Bound(value: DecimalNumber(least), isExclusive: false))
            rule.reduce(NumberRule.Bound(value: DecimalNumber(most), isExclusive: false))
        }
        return rule
    }

    /// nil where no string fits; as with the other rules.
    private mutating func stringRule(_ place: SchemaPlace) throws(SchemaError) -> StringRule? {
        var rule = StringRule()
        rule.least = try place.count("minLength") ?? 0
        rule.most = try place.count("maxLength")
        if let value = place.value("pattern") {
            guard let pattern = value.string else { throw place.error("pattern", "it must be a text") }
            rule.patterns.append(try machine(pattern, place, "pattern"))
        }
        if let value = place.value("format") {
            guard let name = value.string else { throw place.error("format", "it must be a text") }
            if let pattern = SchemaFormat.patterns[name] {
                rule.patterns.append(try machine(pattern, place, "format"))
            } else if SchemaFormat.numbers[name] == nil {
                let known = (SchemaFormat.patterns.keys.sorted() + SchemaFormat.numbers.keys.sorted())
                throw place.error("format", "known are \(known.joined(separator: ", ")); use a pattern for others")
            }
        }
        rule.patterns = Set(rule.patterns).sorted()
        return rule.least > rule.most ?? .max ? nil : rule
    }

    private mutating func machine(
        _ pattern: String, _ place: SchemaPlace, _ keyword: String
    ) throws(SchemaError) -> Int {
        if let known = machineNumbers[Array(pattern.utf8)] { return known }
        do {
            machines.append(try ByteMachine(string: try PatternParser.parse(pattern)))
            machineNumbers[Array(pattern.utf8)] = machines.count - 1
            return machines.count - 1
        } catch let error as PatternError {
            throw place.error(keyword, error.why)
        } catch {
            throw place.error(keyword, "it is too large; repeat less, or use maxLength")
        }
    }

    private mutating func arrayRule(_ place: SchemaPlace) throws(SchemaError) -> ArrayRule? {
        var rule = ArrayRule()
        rule.least = try place.count("minItems") ?? 0
        rule.most = try place.count("maxItems")
        var (prefix, keyword, rest) = (try place.list("prefixItems") ?? [], "prefixItems", "items")
        // As it was before 2020: a list of items, and additional ones.
        if let list = place.value("items")?.array {
            if !prefix.isEmpty { throw place.error("items", "beside prefixItems it is one schema") }
            (prefix, keyword, rest) = (list, "items", "additionalItems")
        }
        for (index, schema) in prefix.enumerated() {
            rule.prefix.append(try node(of: schema, at: place.path(keyword, "\(index)")))
        }
        if let schema = place.value(rest) { rule.rest = try node(of: schema, at: place.path(rest)) }
        if rule.rest == Self.noNode { rule.most = smaller(rule.most, rule.prefix.count) }
        return rule.least > rule.most ?? .max ? nil : rule
    }

    private mutating func objectRule(_ place: SchemaPlace) throws(SchemaError) -> ObjectRule? {
        var rule = ObjectRule()
        rule.least = try place.count("minProperties") ?? 0
        rule.most = try place.count("maxProperties")
        if let schema = place.value("additionalProperties") {
            rule.additional = try node(of: schema, at: place.path("additionalProperties"))
        }
        var nodes: [[UInt8]: Int] = [:]
        if let properties = place.value("properties") {
            guard let members = properties.members else {
                throw place.error("properties", "it must be an object of schemas")
            }
            for member in members {
                nodes[ObjectRule.name(member.key)] = try node(
                    of: member.value, at: place.path("properties", member.key))
            }
        }
        var required: Set<[UInt8]> = []
        if let value = place.value("required") {
            guard let names = value.array?.compactMap(\.string), names.count == value.array?.count else {
                throw place.error("required", "it must be a list of names")
            }
            required = Set(names.map(ObjectRule.name))
        }
        rule.properties = Set(nodes.keys).union(required).map { name in
            ObjectRule.Property(
                name: name, node: nodes[name] ?? rule.additional, isRequired: required.contains(name))
        }.sorted { $0.name.lexicographicallyPrecedes($1.name) }
        return max(rule.least, required.count) > rule.most ?? .max ? nil : rule
    }

    // MARK: References

    private mutating func target(of reference: JSON, at place: SchemaPlace) throws(SchemaError) -> Int {
        guard let text = reference.string else { throw place.error("$ref", "it must be a text") }
        guard text == "#" || text.hasPrefix("#/"), let path = Self.percentDecoded(text.dropFirst()) else {
            throw place.error("$ref", "only places in the schema itself can be referred to, such as #/$defs/name")
        }
        var (json, pointer) = (root, "#")
        for part in path.split(separator: "/", omittingEmptySubsequences: false).dropFirst() {
            let key = String(part.replacing("~1", with: "/").replacing("~0", with: "~"))
            let next: JSON? =
                switch json {
                case .object(let members): members.first { $0.key.utf8.elementsEqual(key.utf8) }?.value
                case .array(let values): Int(key).flatMap { values.indices.contains($0) ? values[$0] : nil }
                default: nil
                }
            guard let next else { throw place.error("$ref", "there is no \(text) in the schema") }
            (json, pointer) = (next, pointer + "/" + SchemaPlace.escaped(key))
        }
        return try node(of: json, at: pointer)
    }

    private static func percentDecoded(_ text: Substring) -> String? {
        var (bytes, rest): ([UInt8], Substring.UTF8View) = ([], text.utf8)
        while let byte = rest.popFirst() {
            if byte != UInt8(ascii: "%") {
                bytes.append(byte)
                continue
            }
            let digits = rest.prefix(2)
            guard digits.count == 2, let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16) else {
                return nil
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    // MARK: Values

    private mutating func choice(of value: JSON) throws(SchemaError) -> SchemaChoice {
        if let literal = LiteralRule(value) { return .literal(literal) }
        if let items = value.array {
            var rule = ArrayRule(rest: Self.noNode, least: items.count, most: items.count)
            for item in items { rule.prefix.append(try node(of: item)) }
            return .array(rule)
        }
        var rule = ObjectRule(additional: Self.noNode)
        for member in value.members ?? [] {
            rule.properties.append(
                .init(name: ObjectRule.name(member.key), node: try node(of: member.value), isRequired: true))
        }
        rule.properties.sort { $0.name.lexicographicallyPrecedes($1.name) }
        return .object(rule)
    }
}

// MARK: - What fits both

extension SchemaCompiler {
    private func unique(_ choices: [SchemaChoice]) -> [SchemaChoice] {
        var seen = Set<SchemaChoice>()
        return choices.filter { seen.insert($0).inserted }
    }

    private mutating func intersection(
        _ a: [SchemaChoice], _ b: [SchemaChoice], _ pointer: String
    ) throws(SchemaError) -> [SchemaChoice] {
        if a == Self.anyChoices { return b }
        if b == Self.anyChoices { return a }
        work += a.count * b.count
        if work > Self.largestWork { throw tooLarge(pointer) }
        var result: [SchemaChoice] = []
        for x in a {
            for y in b { if let both = try intersection(x, y) { result.append(both) } }
        }
        return unique(result)
    }

    private mutating func intersection(_ a: SchemaChoice, _ b: SchemaChoice) throws(SchemaError) -> SchemaChoice? {
        switch (a, b) {
        case (.literal(let x), .literal(let y)): return x.value == y.value ? a : nil
        case (.literal(let literal), .number(let rule)), (.number(let rule), .literal(let literal)):
            guard case .number(let value) = literal.value, rule.contains(value) else { return nil }
            return .literal(literal)
        case (.literal(let literal), .string(let rule)), (.string(let rule), .literal(let literal)):
            return fits(literal, rule) ? .literal(literal) : nil
        case (.number(let x), .number(let y)): return .number(x.merged(with: y))
        case (.string(let x), .string(let y)): return x.merged(with: y).map(SchemaChoice.string)
        case (.array(let x), .array(let y)): return try intersection(x, y).map(SchemaChoice.array)
        case (.object(let x), .object(let y)): return try intersection(x, y).map(SchemaChoice.object)
        default: return nil
        }
    }

    private func fits(_ literal: LiteralRule, _ rule: StringRule) -> Bool {
        guard case .string(let text) = literal.value else { return false }
        let count = String(decoding: text, as: UTF8.self).unicodeScalars.count
        return count >= rule.least && count <= rule.most ?? .max
            && rule.patterns.allSatisfy { machines[$0]?.accepts(literal.text) ?? false }
    }

    private mutating func intersection(_ a: ArrayRule, _ b: ArrayRule) throws(SchemaError) -> ArrayRule? {
        var rule = ArrayRule(
            rest: try merged(a.rest, b.rest), least: max(a.least, b.least), most: smaller(a.most, b.most))
        for index in 0..<max(a.prefix.count, b.prefix.count) {
            rule.prefix.append(try merged(a.item(index), b.item(index)))
        }
        if rule.rest == Self.noNode { rule.most = smaller(rule.most, rule.prefix.count) }
        return rule.least > rule.most ?? .max ? nil : rule
    }

    private mutating func intersection(_ a: ObjectRule, _ b: ObjectRule) throws(SchemaError) -> ObjectRule? {
        var rule = ObjectRule(
            additional: try merged(a.additional, b.additional), least: max(a.least, b.least),
            most: smaller(a.most, b.most))
        var (x, y) = (a.properties[...], b.properties[...])
        work += x.count + y.count
        while let name = [x.first?.name, y.first?.name].compactMap({ $0 }).min(by: { $0.lexicographicallyPrecedes($1) })
        {
            let left = x.first?.name == name ? x.removeFirst() : nil
            let right = y.first?.name == name ? y.removeFirst() : nil
            rule.properties.append(
                .init(
                    name: name, node: try merged(left?.node ?? a.additional, right?.node ?? b.additional),
                    isRequired: left?.isRequired ?? false || right?.isRequired ?? false))
        }
        let requiredCount = rule.properties.count(where: \.isRequired)
        return max(rule.least, requiredCount) > rule.most ?? .max ? nil : rule
    }
}

// What a schema says of a value, in one form: a node is a list of choices, and a value fits the node if it fits one.
// Nodes are numbers, so that a schema may refer to itself.

enum SchemaChoice: Hashable, Sendable {
    case literal(LiteralRule)
    case number(NumberRule)
    case string(StringRule)
    case array(ArrayRule)
    case object(ObjectRule)
}

/// One value that is no container.
struct LiteralRule: Hashable, Sendable {
    enum Value: Hashable, Sendable {
        case null
        case bool(Bool)
        case number(DecimalNumber)
        /// In UTF-8: to Swift, strings that differ in composition are equal.
        case string([UInt8])
    }

    let value: Value
    /// As it is written: a number as the schema spells it, a string in its shortest spelling.
    let text: [UInt8]

    /// nil for a container.
    init?(_ json: JSON) {
        switch json {
        case .null: value = .null
        case .bool(let flag): value = .bool(flag)
        case .number(let spelling): value = .number(DecimalNumber(spelling))
        case .string(let string): value = .string(Array(string.utf8))
        case .array, .object: return nil
        }
        text = Array(json.compact.utf8)
    }
}

struct StringRule: Hashable, Sendable {
    /// Of Unicode scalars.
    var least = 0
    var most: Int?
    /// The numbers of machines that must all accept it: different ones, in ascending order.
    var patterns: [Int] = []

    /// What both rules allow; nil for nothing.
    func merged(with other: StringRule) -> StringRule? {
        var result = self
        result.least = max(least, other.least)
        result.most = smaller(most, other.most)
        result.patterns = Set(patterns + other.patterns).sorted()
        return result.least > result.most ?? .max ? nil : result
    }
}

struct ArrayRule: Hashable, Sendable {
    /// Nodes of the first items, and the node of all others.
    var prefix: [Int] = []
    var rest = SchemaCompiler.anyNode
    var least = 0
    var most: Int?

    func item(_ index: Int) -> Int { index < prefix.count ? prefix[index] : rest }
}

struct ObjectRule: Hashable, Sendable {
    struct Property: Hashable, Sendable {
        /// As it is written behind the opening quotation mark, the closing one included: no name begins another.
        let name: [UInt8]
        var node: Int
        var isRequired: Bool
    }

    /// In ascending order of their names.
    var properties: [Property] = []
    /// The node of all others.
    var additional = SchemaCompiler.anyNode
    var least = 0
    var most: Int?

    /// A name as a property has it.
    static func name(_ text: String) -> [UInt8] { Array(JSON.string(text).compact.utf8.dropFirst()) }
}

func smaller(_ a: Int?, _ b: Int?) -> Int? {
    guard let a else { return b }
    return b.map { min(a, $0) } ?? a
}

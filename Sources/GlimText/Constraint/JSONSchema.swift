/// What a JSON document must be like, made ready to constrain what a model writes: see ``TokenConstraint``.
///
/// Known are `type` (one or several), `enum`, `const`, `anyOf`, `oneOf`, `allOf`, `$ref` to a place in the schema, also
/// to one around it, `nullable`; `properties`, `required`, `additionalProperties`, `minProperties`, `maxProperties`;
/// `items`, `prefixItems`, `minItems`, `maxItems`; `minLength`, `maxLength`, `pattern`, some `format`s; `minimum`,
/// `maximum` and their exclusive forms. A keyword that says nothing of values is passed over; any other is an error, for
/// what it restricts could not be kept. They mean what they mean in the drafts of 2019 and 2020, with this to be said:
///
/// - `oneOf` is read as `anyOf`: a value that fits several of its schemas is not ruled out.
/// - An object may have members that its schema does not name, unless `additionalProperties` is false.
/// - A document may be nested ``maximumDepth`` deep.
/// - One value may have many spellings. Whatever JSON allows is allowed in a string that only its length restricts and in
///   a number that nothing restricts. Names of members, strings of `enum`, `const`, `pattern` and `format` have their
///   shortest spelling, in which nothing is escaped that need not be; numbers of `enum` and `const` that of the schema;
///   integers and numbers within bounds have no exponent, and integers no point. So no member comes twice.
/// - Between the parts of a document, before and behind it, stands no white space, or at most as much as a line break
///   and an indentation of four columns for each open container.
/// - `nullable` adds `null` to the types, and nothing to an `enum`.
///
/// Source: JSON Schema, draft 2020-12, Core and Validation; ECMA-262 for patterns.
public struct JSONSchema: Sendable {
    let grammar: SchemaGrammar

    /// Containers within each other that a document may have.
    public static let maximumDepth = SchemaGrammar.maximumDepth

    /// - Throws: `SchemaError` with the place of what cannot be used. A definition that nothing refers to is not read.
    public init(_ schema: JSON) throws(SchemaError) { grammar = try SchemaCompiler.compile(schema) }

    /// - Parameter bytes: UTF-8, the whole of it the schema as JSON.
    public init(parsing bytes: some Sequence<UInt8>) throws(SchemaError) {
        let schema: JSON
        do { schema = try JSON(parsing: bytes) } catch { throw SchemaError("#", "it is not JSON: \(error)") }
        try self.init(schema)
    }

    /// What a reply's content must fit; nil where it may be any text.
    public init?(_ format: OutputFormat) throws(SchemaError) {
        switch format {
        case .text: return nil
        case .json: try self.init(.object(of: ["type": .string("object")]))
        case .schema(let output): try self.init(output.schema)
        }
    }
}

/// A document of a schema, as far as it has been read. A value: a copy goes its own way.
package struct SchemaReader: Hashable, Sendable {
    let grammar: SchemaGrammar
    /// All ways in which the bytes so far can be read, of more than ``largestCount`` so many: a union's members are told
    /// apart by what differs in them. Every way can be completed, so what is left out is never missed.
    private(set) var configurations: [Configuration]

    static let largestCount = 1000
    /// Between the bytes of a token there may be more: what a mask has found by following so many must be found again.
    static let largestCountInToken = 4000

    package init(_ schema: JSONSchema) {
        grammar = schema.grammar
        configurations = [schema.grammar.start]
    }

    package var isComplete: Bool { configurations.contains(where: grammar.isComplete) }

    /// Reads a byte; false, and nothing is changed, where no document goes on so.
    package mutating func advance(_ byte: UInt8) -> Bool { advance(CollectionOfOne(byte)) }

    /// The same for the bytes of a token.
    package mutating func advance(_ bytes: some Sequence<UInt8>) -> Bool {
        var reached = configurations
        for byte in bytes {
            var next: [Configuration] = []
            for configuration in reached { grammar.step(configuration, byte, into: &next) }
            if next.isEmpty { return false }
            if next.count > 1 {
                var seen = Set<Configuration>()
                next = Array(next.filter { seen.insert($0).inserted }.prefix(Self.largestCountInToken))
            }
            reached = next
        }
        configurations = Array(reached.prefix(Self.largestCount))
        return true
    }

    package static func == (a: SchemaReader, b: SchemaReader) -> Bool {
        a.grammar === b.grammar && a.configurations == b.configurations
    }

    package func hash(into hasher: inout Hasher) { hasher.combine(configurations) }
}

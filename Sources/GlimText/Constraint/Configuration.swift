/// One way in which the bytes so far can be read: the containers that are open, and where in the innermost one stands.
struct Configuration: Hashable, Sendable {
    /// nil outside of all containers.
    let frame: Frame?
    let place: Place

    /// Where in a container, or outside of all, one stands. `spaces` counts white space since the last byte that is
    /// none.
    enum Place: Hashable, Sendable {
        /// Before a value of this node.
        case value(node: Int, spaces: Int)
        /// Within a text that a machine reads; its state.
        case text(Int32)
        /// Within a string that is anything of some length.
        case string(StringProgress)
        /// Within a number of this range.
        case number(Int, NumberRange.Progress)
        /// Behind `[`.
        case firstItem(spaces: Int)
        /// Behind `{`.
        case firstKey(spaces: Int)
        /// Behind a comma in an object.
        case nextKey(spaces: Int)
        /// Within a key that is one of some properties', of which so many bytes have been read.
        case knownKey(properties: Range<Int>, offset: Int)
        /// Within a key that may be any: the state of ``StringLexer/oneSpelling``, and its bytes so far.
        case anyKey(UInt8, name: [UInt8])
        /// Before the colon that precedes a value of this node.
        case colon(node: Int, spaces: Int)
        /// Behind a value. Outside of all containers it is the document.
        case afterValue(spaces: Int)
    }

    /// A string that may be spelled in any way.
    struct StringProgress: Hashable, Sendable {
        /// Of ``StringLexer/anySpelling``.
        var lexer: UInt8
        /// Scalars that it must still begin, and those that it may.
        var least: Int
        var most: Int

        /// The place behind the next byte, nil where no string goes on so. A string that ends is `StringLexer.closed`.
        @inline(__always)
        func next(_ byte: UInt8) -> StringProgress? {
            var result = self
            result.lexer = StringLexer.anySpelling.next(lexer, byte)
            if result.lexer == StringLexer.dead { return nil }
            if lexer != StringLexer.body { return result }
            if result.lexer == StringLexer.closed { return least <= 0 ? result : nil }
            if most == 0 { return nil }
            result.least = max(least - 1, 0)
            if most != .max { result.most = most - 1 }
            return result
        }
    }
}

/// An open container, and those around it.
final class Frame: Hashable, Sendable {
    enum Container: Hashable, Sendable {
        /// - Parameter count: items begun, as far as they are told apart.
        case array(Int, count: Int)
        case object(Int, Members)
    }

    /// The keys that an object has so far.
    struct Members: Hashable, Sendable {
        /// A bit for each property.
        private(set) var properties: [UInt64] = []
        /// Keys that are no property, as they are written behind the opening quotation mark, in ascending order.
        private(set) var others: [[UInt8]] = []
        private(set) var count = 0
        /// Required ones that have not come.
        private(set) var missingCount: Int

        init(of shape: SchemaGrammar.ObjectShape) {
            missingCount = shape.requiredCount
            properties = [UInt64](repeating: 0, count: (shape.rule.properties.count + 63) / 64)
        }

        func contains(_ property: Int) -> Bool { properties[property / 64] >> UInt64(property % 64) & 1 == 1 }

        func contains(_ name: [UInt8]) -> Bool {
            let place = others.firstIndex { !$0.lexicographicallyPrecedes(name) }
            return place.map { others[$0] == name } ?? false
        }

        func adding(_ property: Int, isRequired: Bool) -> Members {
            var result = self
            result.properties[property / 64] |= 1 << UInt64(property % 64)
            result.count += 1
            if isRequired { result.missingCount -= 1 }
            return result
        }

        func adding(_ name: [UInt8]) -> Members {
            var result = self
            result.others.insert(name, at: others.firstIndex { name.lexicographicallyPrecedes($0) } ?? others.count)
            result.count += 1
            return result
        }
    }

    let parent: Frame?
    let container: Container
    /// Of this one: 1 for the outermost.
    let depth: Int
    private let hashed: Int

    init(_ container: Container, in parent: Frame?) {
        (self.container, self.parent, depth) = (container, parent, (parent?.depth ?? 0) + 1)
        var hasher = Hasher()
        hasher.combine(container)
        hasher.combine(parent?.hashed)
        hashed = hasher.finalize()
    }

    static func == (a: Frame, b: Frame) -> Bool {
        a === b || a.hashed == b.hashed && a.container == b.container && a.parent == b.parent
    }

    func hash(into hasher: inout Hasher) { hasher.combine(hashed) }
}

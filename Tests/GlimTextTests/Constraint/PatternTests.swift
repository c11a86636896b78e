import Foundation
import GlimTestSupport
import GlimText
import Testing

@Suite("patterns and ranges") struct PatternTests {
    private static let alphabet = Array("ab1 -_.é😀\"\\\n").map(String.init)

    private func text(_ draw: inout Draw, _ most: Int) -> String {
        (0..<draw.integer(0...most)).map { _ in draw.pick(Self.alphabet) }.joined()
    }

    /// A pattern that both this room and Foundation read, and read alike for texts of the alphabet.
    private func pattern(_ draw: inout Draw, _ depth: Int) -> String {
        let atoms = [
            "a", "b", "1", "[ab]", "[^a]", "[a-z_]", "\\d", "[\\d\\-]", "\\.", "\\\\", "\"", "😀", "\\u00e9", "\\n",
            "\\s", "[^\\d\\s]",
        ]
        func branch(_ draw: inout Draw) -> String {
            // Never empty: Foundation's expressions do not get over an empty group that is repeated.
            (0..<draw.integer(1...(depth == 0 ? 4 : 3))).map { _ in
                let atom =
                    depth < 3 && draw.chance(0.25)
                    ? draw.pick(["(", "(?:", "(?<n\(draw.integer(0...1 << 40))>"]) + pattern(&draw, depth + 1) + ")"
                    : draw.pick(atoms)
                return atom + draw.pick(["", "", "", "?", "*", "+", "{2}", "{1,3}", "{0,2}?", "{2,}", "*?"])
            }.joined()
        }
        return (0..<draw.pick([1, 1, 2])).map { _ in
            let inner = branch(&draw)
            return depth > 0 ? inner : draw.pick(["", "^"]) + inner + draw.pick(["", "$"])
        }.joined(separator: "|")
    }

    @Test("a drawn pattern accepts what Foundation's expressions find") func drawn() throws {
        var (counts, largeCount) = ([true: 0, false: 0], 0)
        for number in 0..<400 {
            var draw = Draw(number, "pattern")
            let pattern = self.pattern(&draw, 0)
            let json = JSON.object([.init("type", .string("string")), .init("pattern", .string(pattern))])
            let schema: JSONSchema
            do { schema = try JSONSchema(json) } catch {
                // Repetitions of repetitions may multiply.
                print("LARGE", pattern)
                #expect(error.why.contains("too large"), "\(error): \(pattern)")
                largeCount += 1
                continue
            }
            for _ in 0..<25 {
                let text = self.text(&draw, 6)
                guard let matches = SchemaValidator.matchesIfKnown(text, pattern) else { continue }
                counts[matches]! += 1
                #expect(
                    accepts(schema, JSON.string(text).compact.utf8) == matches,
                    "\(text.debugDescription), \(matches), \(pattern)")
            }
        }
        #expect(counts[true]! > 1000 && counts[false]! > 1000 && largeCount < 40)
    }

    @Test(
        "classes are those of ECMA-262, for every character",
        arguments: ["\\d", "\\w", "\\s", "\\D", "\\W", "\\S", ".", "[^]", "[\\u{10000}-\\u{10FFFF}]"])
    func classes(name: String) throws {
        let schema = try JSONSchema(
            .object([.init("type", .string("string")), .init("pattern", .string("^\(name)$"))]))
        let space: Set<UInt32> = Set(
            [9, 10, 11, 12, 13, 32, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF]
                + Array(0x2000...0x200A))
        func isIn(_ value: UInt32) -> Bool {
            switch name {
            case "\\d": (0x30...0x39).contains(value)
            case "\\D": !(0x30...0x39).contains(value)
            case "\\s": space.contains(value)
            case "\\S": !space.contains(value)
            case ".": ![10, 13, 0x2028, 0x2029].contains(value)
            case "[^]": true
            case "[\\u{10000}-\\u{10FFFF}]": value > 0xFFFF
            default:
                (value < 128
                    && (Character(Unicode.Scalar(value)!).isLetter || Character(Unicode.Scalar(value)!).isNumber)
                    || value == 0x5F) == (name == "\\w")
            }
        }
        // All of the first plane's beginning, then the borders of everything.
        let values = Array(UInt32(0)...0x3100) + [0xD7FF, 0xE000, 0xFEFE, 0xFEFF, 0xFFFF, 0x10000, 0x1FFFF, 0x10FFFF]
        for value in values {
            let text = JSON.string(String(Unicode.Scalar(value)!)).compact
            if accepts(schema, text.utf8) != isIn(value) { Issue.record("\(name) and U+\(String(value, radix: 16))") }
        }
    }

    /// Every text of up to `most` of these bytes that can be read, and whether it may end there.
    private func readable(_ schema: JSONSchema, _ alphabet: [UInt8], most: Int) -> [[UInt8]: Bool] {
        var (found, pending) = ([[UInt8]: Bool](), [([UInt8](), SchemaReader(schema))])
        while let (text, reader) = pending.popLast() {
            found[text] = reader.isComplete
            if text.count == most { continue }
            for byte in alphabet {
                var next = reader
                if next.advance(byte) { pending.append((text + [byte], next)) }
            }
        }
        return found
    }

    @Test("a number within bounds is read where it can be completed, and ends where it is one")
    func ranges() throws {
        var draw = Draw(1, "ranges")
        var (count, emptyCount) = (0, 0)
        while count < 80 {
            let isInteger = draw.chance(0.5)
            var members: [JSON.Member] = [.init("type", .string(isInteger ? "integer" : "number"))]
            var (least, most) = (Int.min, Int.max)  // in thousandths, all of them steps of these
            for keyword in ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"] where draw.chance(0.45) {
                let (text, value) = draw.pick(Self.bounds)
                members.append(.init(keyword, .number(text)))
                switch keyword {
                case "minimum": least = max(least, value)
                case "maximum": most = min(most, value)
                case "exclusiveMinimum": least = max(least, value + 1)
                default: most = min(most, value - 1)
                }
            }
            let json = JSON.object(members)
            if members.count == 1 { continue }
            count += 1
            var (fitting, prefixes) = (Set<[UInt8]>(), Set<[UInt8]>())
            for (text, value) in Self.spellings where value >= least && value <= most {
                if isInteger, text.contains(UInt8(ascii: ".")) { continue }
                if text.count <= 4 { fitting.insert(text) }
                for count in 0...min(text.count, 3) { prefixes.insert(Array(text.prefix(count))) }
            }
            guard let schema = try? JSONSchema(json) else {
                emptyCount += 1
                #expect(prefixes.isEmpty, "\(json.compact) has numbers")
                continue
            }
            let found = readable(schema, Array("-0123456789.".utf8), most: 4)
            for (text, isComplete) in found {
                let what = "\(String(decoding: text, as: UTF8.self)) of \(json.compact)"
                #expect(isComplete == fitting.contains(text), "\(what)")
                if text.count <= 3 { #expect(prefixes.contains(text), "\(what) leads nowhere") }
            }
            for text in fitting where found[text] != true {
                Issue.record("\(String(decoding: text, as: UTF8.self)) of \(json.compact)")
            }
        }
        #expect(emptyCount > 3 && emptyCount < 40)
    }

    /// Bounds and their thousandths.
    private static let bounds = [
        ("-12", -12000), ("-1.5", -1500), ("-0.25", -250), ("0", 0), ("0.05", 50), ("5e-1", 500), ("1", 1000),
        ("1.25", 1250), ("3", 3000), ("9.90", 9900), ("1e1", 10000), ("12", 12000), ("99", 99000), ("101", 101_000),
    ]

    /// All plain numbers of up to four bytes, no negative zero; and so many longer ones that what can be completed at all
    /// is completed among them. With their thousandths.
    private static let spellings: [([UInt8], Int)] = {
        var found: [([UInt8], Int)] = []
        for whole in 0...9999 {
            var fractions = [("", 0)]
            if whole < 1000 { fractions += (0...9).map { (".\($0)", $0 * 100) } }
            if whole < 200 { fractions += (0...99).map { ($0 < 10 ? ".0\($0)" : ".\($0)", $0 * 10) } }
            for (fraction, thousandths) in fractions {
                let (text, value) = (Array("\(whole)\(fraction)".utf8), whole * 1000 + thousandths)
                found.append((text, value))
                if value > 0 { found.append(([UInt8(ascii: "-")] + text, -value)) }
            }
        }
        return found
    }()
}

import GlimTestSupport
import GlimText
import Testing

@Suite("stop strings") struct StopStringsTests {
    /// The text before the first string, and the string: of those that begin first the longest, of equals the first.
    private func plain(_ text: [UInt8], _ strings: [String]) -> (text: [UInt8], found: String?) {
        for start in text.indices {
            let here = strings.filter { !$0.isEmpty && text[start...].starts(with: $0.utf8) }
            if let longest = here.max(by: { $0.utf8.count < $1.utf8.count }) { return (Array(text[..<start]), longest) }
        }
        return (text, nil)
    }

    private func run(_ pieces: [[UInt8]], _ strings: [String]) -> (text: String, found: String?) {
        var (stops, text) = (StopStrings(strings), "")
        for piece in pieces { text += stops.push(piece) }
        return (text + stops.finish(), stops.found)
    }

    @Test("text and string are the same at every cut, and as a plain search has them") func cuts() {
        let alphabet = ["a", "b", "ab", "é", "😀", "\n"]
        var foundCount = 0
        for number in 0..<600 {
            var draw = Draw(number, "stops")
            let letters = Array(alphabet.prefix(draw.integer(2...alphabet.count)))
            func word(_ range: ClosedRange<Int>) -> String {
                (0..<draw.integer(range)).map { _ in draw.pick(letters) }.joined()
            }
            let strings = (0..<draw.integer(0...4)).map { _ in word(1...4) }
            var text = Array(word(0...9).utf8)
            if draw.chance(0.1), !text.isEmpty { text.removeLast() }
            let expected = plain(text, strings)
            foundCount += expected.found == nil ? 0 : 1
            let what = "\(strings) in \(String(decoding: text, as: UTF8.self).debugDescription)"
            // Every way to cut a short text, some of a longer one.
            let count = text.isEmpty ? 1 : 1 << min(text.count - 1, 8)
            for cut in 0..<count {
                var pieces: [[UInt8]] = [[]]
                for (i, byte) in text.enumerated() {
                    pieces[pieces.count - 1].append(byte)
                    if i < 8 ? cut >> i & 1 == 1 : draw.chance(0.5) { pieces.append([]) }
                }
                let result = run(pieces, strings)
                #expect(isSame(result.text, String(decoding: expected.text, as: UTF8.self)), "\(what), \(pieces)")
                #expect(result.found == expected.found, "\(what), \(pieces)")
            }
        }
        #expect(foundCount > 200 && foundCount < 500)
    }

    @Test("nothing is held back that no string begins with, and a string that is whole ends the text at once")
    func prompt() {
        #expect(run(["abc", "bd"], ["x", "ya", "b", "d", "more"]) == (["x", "y", "", "a", ""], "", "bd"))
        // A longer one may still come, and one that began earlier.
        #expect(run(["ab", "abc"], ["ab", "c", "x"]) == (["", "", ""], "", "abc"))
        #expect(run(["bc", "abcd"], ["abc", "x"]) == (["", "a"], "", "bc"))
        #expect(run(["bc", "abcd"], ["abc"]) == ([""], "a", "bc"))
    }

    @Test("what was held back and is no string comes whole, and so does half a character") func release() {
        #expect(run(["END"], ["EN", "EN", "", "D?"]) == (["", "EN", "", ""], "", "END"))
        #expect(run(["END"], ["EN"]) == ([""], "EN", nil))
        var stops = StopStrings([""])
        #expect([[0xC3], [0xA9], [0xE4]].map { stops.push($0) } == ["", "é", ""])
        let rest = stops.finish()
        #expect(rest == "\u{FFFD}" && stops.found == nil)
        // The first byte of a character that a string begins with.
        stops = StopStrings(["é!"])
        #expect([[0xC3], [0xA9], [0x3F]].map { stops.push($0) } == ["", "", "é?"])
    }

    /// What each piece gives, what the end does, and the string that was found.
    private func run(_ strings: [String], _ pieces: [String]) -> ([String], String, String?) {
        var stops = StopStrings(strings)
        let texts = pieces.map { stops.push($0) }
        return (texts, stops.finish(), stops.found)
    }

    @Test("a copy goes its own way") func copies() {
        var stops = StopStrings(["ab"])
        _ = stops.push("a")
        var other = stops
        let (one, two) = (stops.push("b"), other.push("c"))
        #expect(one.isEmpty && stops.found == "ab" && two == "ac" && other.found == nil)
    }

    @Test("time is linear in the text, whatever is held back", arguments: [1, 1000])
    func linear(chunk: Int) {
        let strings = [String(repeating: "a", count: 5000) + "b", String(repeating: "ab", count: 2000) + "!"]
        var stops = StopStrings(strings)
        let piece = String(repeating: "a", count: chunk)
        let time = ContinuousClock().measure { for _ in 0..<400_000 / chunk { _ = stops.push(piece) } }
        #expect(time < .seconds(10) && stops.found == nil)
        _ = stops.push("b")
        #expect(stops.found == strings[0])
    }
}

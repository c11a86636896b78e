import Foundation
import GlimCheckpoint
import Testing

@Suite("JSON reader") struct JSONReaderTests {
    func isValid(_ text: String) -> Bool {
        var reader = JSONReader(Array(text.utf8))
        do throws(JSONReader.Problem) {
            try reader.skipValue()
            try reader.finish()
            return true
        } catch {
            return false
        }
    }

    @Test(
        "accepts what RFC 8259 accepts",
        arguments: [
            "0", "-0", "1.5e-7", "10E+2", "\"\"", "true", "false", "null", " [ ] ", "{}", "[[],[{}],\"a\"]",
            "{\"a\":{\"b\":[1,2,{\"c\":null}]},\"d\":\"\\ud83d\\ude00\\n\\/\"}", "\t\r\n1 ",
        ])
    func accepts(text: String) { #expect(isValid(text)) }

    @Test(
        "refuses everything else",
        arguments: [
            "", " ", "01", "-", "1.", ".5", "1e", "+1", "tru", "nulll", "[1,]", "[,1]", "[1 2]", "{\"a\"}", "{\"a\":}",
            "{a:1}", "{\"a\":1,}", "[1}", "{]", "\"", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\u0041\"",
            "\"\\udc00\"", "\"\u{1}\"", "1 2", "NaN", "'a'", "]", "\"\\",
        ])
    func refuses(text: String) { #expect(!isValid(text)) }

    @Test("strings come out unescaped") func strings() throws {
        var reader = JSONReader(Array(#""a\u00e9\"\\\ud83d\ude00é\t""#.utf8))
        #expect(try reader.string() == "aé\"\\😀é\t")
    }

    @Test("a header of 100,000 tensors is read in well under a second") func large() throws {
        let entries = (0..<100_000).map {
            "\"model.layers.\($0).mlp.experts.7.gate_proj.weight\":"
                + "{\"dtype\":\"BF16\",\"shape\":[1,1],\"data_offsets\":[\(2 * $0),\(2 * $0 + 2)]}"
        }
        let bytes = safetensors("{\(entries.joined(separator: ","))}", dataByteCount: 200_000)
        let clock = ContinuousClock()
        let time = try clock.measure { try bytes.withUnsafeBytes { _ = try SafetensorsHeader($0, path: "x") } }
        #expect(time < .seconds(10), "debug builds and busy machines are slow, but not quadratic: \(time)")
    }
}

/// The ways of cutting text into pre-tokens, the pieces that merges never cross. The raw value is the pattern as it
/// stands in `tokenizer.json`.
public enum SplitPattern: String, Sendable, CaseIterable {
    /// GLM-4 and 5, Llama-3 and cl100k: numbers in groups of three.
    case glm =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    /// Qwen-2: as GLM, but each digit stands alone.
    case qwen2 =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    /// GPT-2, built into Hugging Face's `ByteLevel`.
    case gpt2 = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
}

/// Finds where pre-tokens end, by hand-written scanners that agree with the regular expressions.
///
/// A byte that is not part of well-formed UTF-8 counts as a symbol of its own. Time is linear in the text.
struct PieceScanner {
    let text: UnsafeBufferPointer<UInt8>
    let pattern: SplitPattern
    private let classes = UnicodeClass.table

    init(_ text: UnsafeBufferPointer<UInt8>, _ pattern: SplitPattern) {
        (self.text, self.pattern) = (text, pattern)
    }

    /// The end of the piece that starts at `start`, which must lie within the text.
    @inline(__always)
    func end(from start: Int) -> Int {
        pattern == .gpt2 ? endOfGPT2(from: start) : endOfGLM(from: start, digitCount: pattern == .glm ? 3 : 1)
    }

    private func endOfGLM(from start: Int, digitCount: Int) -> Int {
        let (kind, length) = character(at: start)
        let second = start + length
        if kind == .letter { return run(of: .letter, from: second) }
        if text[start] == UInt8(ascii: "'"), let end = contraction(at: start, foldsCase: true) { return end }
        if kind == .number {
            var end = second
            for _ in 1..<digitCount where end < text.count {
                let (kind, length) = character(at: end)
                if kind != .number { break }
                end += length
            }
            return end
        }
        // Anything but a newline may lead a word.
        if !kind.contains(.newline), second < text.count {
            let (next, nextLength) = character(at: second)
            if next == .letter { return run(of: .letter, from: second + nextLength) }
            if next == .other, text[start] == UInt8(ascii: " ") {
                return newlines(from: run(of: .other, from: second + nextLength))
            }
        }
        if kind == .other { return newlines(from: run(of: .other, from: second)) }
        return whiteSpace(from: start, endsAtNewline: true)
    }

    private func endOfGPT2(from start: Int) -> Int {
        var (kind, length) = character(at: start)
        if text[start] == UInt8(ascii: "'"), let end = contraction(at: start, foldsCase: false) { return end }
        var second = start + length
        if text[start] == UInt8(ascii: " "), second < text.count {
            let (next, nextLength) = character(at: second)
            if !next.contains(.whiteSpace) { (kind, length, second) = (next, nextLength, second + nextLength) }
        }
        if kind.contains(.whiteSpace) { return whiteSpace(from: start, endsAtNewline: false) }
        return run(of: kind, from: second)
    }

    @inline(__always)
    private func character(at i: Int) -> (kind: UnicodeClass, length: Int) {
        let first = text[i]
        return first < 0x80 ? (classes[Int(first)], 1) : wideCharacter(at: i)
    }

    private func wideCharacter(at i: Int) -> (kind: UnicodeClass, length: Int) {
        guard let length = utf8Length(text, at: i) else { return (.other, 1) }
        return (classes[codePoint(text, at: i, length: length)], length)
    }

    @inline(__always)
    private func run(of kind: UnicodeClass, from start: Int) -> Int {
        var end = start
        while end < text.count {
            let (next, length) = character(at: end)
            if next != kind { break }
            end += length
        }
        return end
    }

    private func newlines(from start: Int) -> Int {
        var end = start
        while end < text.count, text[end] == 0x0A || text[end] == 0x0D { end += 1 }
        return end
    }

    /// White space up to its last newline if it has one and `endsAtNewline`; else all of it at the end of the text,
    /// and otherwise all but the last character, which the next word may want.
    private func whiteSpace(from start: Int, endsAtNewline: Bool) -> Int {
        var (end, last, afterNewline) = (start, start, start)
        while end < text.count {
            let (kind, length) = character(at: end)
            if !kind.contains(.whiteSpace) { break }
            last = end
            end += length
            if kind.contains(.newline) { afterNewline = end }
        }
        if endsAtNewline, afterNewline > start { return afterNewline }
        return end == text.count || last == start ? end : last
    }

    /// `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll` and `'d`. Folding case also lets `ſ` (U+017F) stand for `s`.
    private func contraction(at start: Int, foldsCase: Bool) -> Int? {
        func letter(_ k: Int) -> UInt8 {
            guard start + k < text.count else { return 0 }
            let byte = text[start + k]
            return foldsCase && (0x41...0x5A).contains(byte) ? byte | 0x20 : byte
        }
        switch (letter(1), letter(2)) {
        case (UInt8(ascii: "s"), _), (UInt8(ascii: "t"), _), (UInt8(ascii: "m"), _), (UInt8(ascii: "d"), _):
            return start + 2
        case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")),
            (UInt8(ascii: "l"), UInt8(ascii: "l")):
            return start + 3
        case (0xC5, 0xBF) where foldsCase: return start + 3
        default: return nil
        }
    }
}

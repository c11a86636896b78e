extension Sampler {
    /// The logits after mask, bias and penalties, as if in this order; nil where none of these changes any.
    ///
    /// Each step rounds to f32 once. Tokens that there are not are passed over.
    func adjusted(_ logits: UnsafeBufferPointer<Float>, _ counts: TokenCounts?, _ mask: [UInt64]?) -> [Float]? {
        let penalises = repetitionPenalty != 1 || frequencyPenalty != 0 || presencePenalty != 0
        guard mask != nil || !bias.isEmpty || penalises && counts != nil else { return nil }
        var result = Array(logits)
        func change(_ token: Int32, _ body: (Double) -> Double) {
            guard token >= 0, token < result.count else { return }
            result[Int(token)] = Float(body(Double(result[Int(token)])))
        }
        for (token, value) in bias { change(token) { $0 + value } }
        if repetitionPenalty != 1, let counts {
            func repeated(_ logit: Double) -> Double {
                logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty
            }
            for token in counts.prompt { change(token, repeated) }
            for token in counts.drawn.keys where !counts.prompt.contains(token) { change(token, repeated) }
        }
        if frequencyPenalty != 0 || presencePenalty != 0, let counts {
            for (token, count) in counts.drawn {
                change(token) { $0 - Double(count) * frequencyPenalty - presencePenalty }
            }
        }
        // As if it had come first, but no number that somebody gave (-∞ times one below zero) brings a token back.
        if let mask { Self.apply(mask, to: &result) }
        return result
    }

    /// The lowest of so many tokens that a mask allows; nil where it allows none of them.
    package static func lowest(_ mask: [UInt64], of count: Int) -> Int32? {
        guard let word = mask.firstIndex(where: { $0 != 0 }) else { return nil }
        let token = word * 64 + mask[word].trailingZeroBitCount
        return token < count ? Int32(token) : nil
    }

    private static func apply(_ mask: [UInt64], to logits: inout [Float]) {
        for first in stride(from: 0, to: logits.count, by: 64) {
            let word = first / 64 < mask.count ? mask[first / 64] : 0
            if word == .max { continue }
            for k in first..<min(first + 64, logits.count) where word >> UInt64(k - first) & 1 == 0 {
                logits[k] = -.infinity
            }
        }
    }
}

extension UnsafeBufferPointer<Float> {
    /// The places of so many of the greatest elements, the greatest first, of equals the first. What is -∞ or no number
    /// is none of them.
    func largest(_ count: Int) -> [Int] {
        func precedes(_ a: Int, _ b: Int) -> Bool { self[a] != self[b] ? self[a] > self[b] : a < b }
        var kept: [Int] = []
        guard count > 0 else { return kept }
        // Twice as many as are wanted before the lesser half is thrown away: a place is sorted a few times at most.
        let limit = 2 * Swift.min(count, self.count)
        var bar = -Float.infinity
        for i in indices where self[i] > bar {
            kept.append(i)
            guard kept.count > count, kept.count >= limit else { continue }
            kept.sort(by: precedes)
            kept.removeSubrange(count...)
            bar = self[kept[count - 1]]
        }
        kept.sort(by: precedes)
        return Array(kept.prefix(count))
    }
}

import GlimTensor

/// Facts hidden in a long text for evaluation, and several questions about them.
package struct RetrievalInstance: Equatable {
    /// What is asked for one sample: prompts one after the other, each with what the answer must contain.
    package struct Sample: Equatable {
        package var prompts: [(prompt: String, expected: [String])]

        package static func == (a: Sample, b: Sample) -> Bool { a.prompts.elementsEqual(b.prompts, by: ==) }
    }

    /// The text with its facts, ending with a line.
    package let prefix: [UInt8]
    /// Where the facts stand in it.
    package let facts: [Range<Int>]
    package let samples: [Sample]

    /// How many samples of a task share one text: reading it is what takes long. A needle is alone in its text.
    package static func samplesPerText(_ task: RetrievalTask) -> Int { task == .needle ? 1 : strata }
    /// Facts of one sample of multi-query.
    static let queries = 4
    /// Parts of a text that get as many of the questions each.
    private static let strata = 5

    /// - Parameters:
    ///   - index: which text of this task.
    ///   - byteCount: the length of the prefix; a text without room for its facts is as long as they are.
    package init(_ task: RetrievalTask, index: Int, byteCount: Int, haystack: Haystack, seed: UInt64) {
        let purpose = "evaluation.\(task.rawValue).\(index)"
        var draws = DrawSequence(seed: seed, purpose: purpose)
        var maker = FactGroupMaker(task.form, isHeldOut: true, seed: seed, purpose: purpose)
        let asked = Self.samplesPerText(task) * (task == .multiQuery ? Self.queries : 1)
        // One line in 256 bytes looks like those that are asked for, up to what names there are.
        let distractors = task == .multiKey ? min(40, byteCount / 256) : 0
        var groups: [FactGroup] = []
        // The last group is told last and never asked for: who answers with the nearest fact is wrong.
        let last = task == .needle ? 0 : 1
        while groups.count < asked + distractors + last, let group = maker.next(count: 4) { groups.append(group) }

        let factBytes = groups.flatMap(\.facts).reduce(0) { $0 + $1.line.utf8.count }
        var text: [ArraySlice<UInt8>] = []
        var (line, size) = (draws.integer(below: haystack.lineCount), factBytes)
        while size + haystack.line(line).count <= byteCount {
            text.append(haystack.line(line))
            size += haystack.line(line).count
            line += 1
        }
        // The line of text before which each fact stands.
        var placed: [(place: Int, order: Int, fact: FactGroup.Fact)] = []
        for (i, group) in groups.enumerated() {
            var places = group.facts.map { _ in draws.integer(below: text.count + 1) }.sorted()
            if group.facts.count == 1, i < asked {
                // Every depth gets its part of the questions.
                let (stratum, count) = task == .needle ? (index % Self.strata, Self.strata) : (i, asked)
                places = [(stratum * text.count + draws.integer(below: max(1, text.count))) / count]
            }
            if task != .needle, i == groups.count - 1 { places[places.count - 1] = text.count }
            for (place, fact) in zip(places, group.facts) { placed.append((place, placed.count, fact)) }
        }
        placed.sort { ($0.place, $0.order) < ($1.place, $1.order) }

        var (prefix, facts, next): ([UInt8], [Range<Int>], Int) = ([], [], 0)
        for place in 0...text.count {
            while next < placed.count, placed[next].place == place {
                facts.append(prefix.count..<prefix.count + placed[next].fact.line.utf8.count)
                prefix += placed[next].fact.line.utf8
                next += 1
            }
            if place < text.count { prefix += text[place] }
        }
        (self.prefix, self.facts) = (prefix, facts)

        let order = CounterRandom(seed: seed, purpose: purpose + ".questions").permutation(min(asked, groups.count))
        let questions = order.map { groups[$0].questions[0] }
        let perSample = task == .multiQuery ? Self.queries : 1
        samples = stride(from: 0, to: questions.count, by: perSample).map { first in
            Sample(prompts: questions[first..<min(first + perSample, questions.count)].map { ($0.prompt, $0.answers) })
        }
    }
}

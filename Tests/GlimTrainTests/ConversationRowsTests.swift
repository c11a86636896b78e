import Foundation
import GlimModel
import GlimTensor
import GlimText
import GlimTrain
import Testing

@Suite("rows of conversations", .serialized) struct ConversationRowsTests {
    /// Conversations of many lengths, of which some teach nothing and some are longer than a row of 512 tokens.
    private struct Place {
        let recipe: TrainRecipe
        let material: RunMaterial
        /// Of those that a row of 512 holds and that teach something, their tokens and targets.
        var expected: [[Int32]: [Int32]] = [:]

        init(_ folder: borrowing TemporaryFolder) throws {
            var lines = (0..<400).map { DrawnConversation($0, seed: 7).line }
            for (i, count) in [2000, 3000].enumerated() {
                let text = String(repeating: "owl \(i) ", count: count)
                lines.append("{\"messages\": [{\"role\": \"assistant\", \"content\": \"\(text)\"}]}")
            }
            lines.append("{\"messages\": [{\"role\": \"user\", \"content\": \"Nobody there?\"}]}")
            var recipe = TrainRecipe(stage: .sft)
            recipe.data = [try folder.write("talk.jsonl", lines.joined(separator: "\n"))]
            (recipe.sequenceLength, recipe.validationFraction) = (512, 0)
            self.recipe = recipe
            let tokenizer = ConversationTests.tokenizer
            material = try RunMaterial(
                conversations: try RunText(recipe) { _ in }, tokenizer, .glm5, rowLength: 512, threads: 2)
            let encoder = try ConversationEncoder(tokenizer, .glm5)
            var (tooLong, untaught): ([Int], [Int]) = ([], [])
            for (i, line) in lines.enumerated() {
                let one = encoder.encode(try Conversation(parsing: line.utf8))
                let targets = zip(one.tokens, one.taught).dropFirst().map { $1 ? $0 : -1 } + [-1]
                if one.tokens.count > 512 {
                    tooLong.append(i + 1)
                } else if targets.allSatisfy({ $0 < 0 }) {
                    untaught.append(i + 1)
                } else {
                    expected[one.tokens] = targets
                }
            }
            // data.json names the lines that are left out, and the count is of those that are not.
            let report = material.text.report
            func names(_ reason: CorpusReport.Reason, _ lines: [Int]) {
                let found = report.dropped.filter { $0.reason == reason }.map(\.name)
                #expect(found == lines.map { "\(recipe.data[0]):\($0)" })
            }
            names(.tooLong, tooLong)
            names(.untaught, untaught)
            #expect(tooLong.count >= 2 && report.totals.skippedTooLong == tooLong.count)
            #expect(untaught.count > 10 && report.totals.skippedUntaught == untaught.count)
            #expect(report.totals.documents == lines.count - tooLong.count - untaught.count)
        }

        func loader() throws -> MixedLoader { try MixedLoader(recipe, material) { _ in } }
    }

    /// Rows that hold these conversations where the longest is placed first, in the first row that has room.
    private static func rowCount(_ lengths: [Int], of length: Int) -> Int {
        var rooms: [Int] = []
        for count in lengths.sorted(by: >) {
            let row = rooms.firstIndex { $0 >= count } ?? rooms.count
            if row == rooms.count { rooms.append(length) }
            rooms[row] -= count
        }
        return rooms.count
    }

    @Test("every conversation comes whole, once an epoch, in hardly more rows than with all in sight") func packing()
        throws
    {
        let place = try Place(try TemporaryFolder())
        let least = Self.rowCount(place.expected.keys.map(\.count), of: 512)
        var loader = try place.loader()
        var orders: [[[Int32]]] = []
        for epoch in 0..<3 {
            var (seen, rowCount): ([[Int32]], Int) = ([], 0)
            while seen.count < place.expected.count {
                let row = loader.batch(rows: 1, stage: 0)[0]
                #expect(loader.position.sources[0].epoch == epoch)
                #expect(row.tokens.count == 512 && row.targetCount > 0 && row.following.allSatisfy(\.isEmpty))
                rowCount += 1
                for segment in row.segments {
                    let range = segment.start..<segment.start + segment.count
                    let (tokens, targets) = (Array(row.tokens[range]), Array(row.next[range]))
                    if segment == row.segments.last, place.expected[tokens] == nil {
                        #expect(targets.allSatisfy { $0 == -1 })
                    } else {
                        #expect(place.expected[tokens] == targets)
                        seen.append(tokens)
                    }
                }
            }
            #expect(Set(seen).count == seen.count && Set(seen) == Set(place.expected.keys))
            #expect(Double(rowCount) < 1.04 * Double(least), "\(rowCount) rows, \(least)")
            orders.append(seen)
        }
        #expect(orders[0] != orders[1] && orders[1] != orders[2])
    }

    @Test(
        "a conversation in a row of several has the loss and the gradients that it has alone, to the bit",
        arguments: [false, true])
    func crossTalk(isSparse: Bool) throws {
        var config = RunPlace.config
        (config.vocabularySize, config.maximumPositions) = (384, 256)
        if isSparse {
            var indexer = config.proposedIndexer
            indexer.topK = 16
            config = try config.adapted(indexer: indexer)
        }
        let model = Model(config, seed: 5)
        var options = TrainingPass.Options()
        // The balance of experts is the one thing that a sequence is not asked for by itself alone.
        options.balanceWeight = 0
        func pass(_ row: PackedRow) -> TrainingPass { TrainingPass(model, [row], options) }
        let place = try Place(try TemporaryFolder())
        var recipe = place.recipe
        recipe.sequenceLength = 256
        // Sums over tokens are taken 256 at a time: within those a conversation's own come in one order anywhere.
        var loader = try MixedLoader(recipe, place.material) { _ in }
        var compared = 0
        for _ in 0..<8 {
            let row = loader.batch(rows: 1, stage: 0)[0]
            for segment in row.segments where row.segments.count > 2 {
                let range = segment.start..<segment.start + segment.count
                var masked = row
                for place in row.next.indices where !range.contains(place) { masked.next[place] = -1 }
                guard masked.targetCount > 0 else { continue }
                let alone = PackedRow(
                    tokens: Array(row.tokens[range]), segments: [.init(start: 0, count: segment.count)],
                    next: Array(row.next[range]))
                let (together, single) = (pass(masked), pass(alone))
                #expect(together.loss == single.loss && together.mtpLoss == single.mtpLoss)
                var isLearned = false
                for tensor in model.tensors {
                    let expected = tensor.numbers(in: single.gradients)?.elements
                    let found = tensor.numbers(in: together.gradients)?.elements
                    // An expert that others alone chose has a gradient of zeros.
                    #expect(
                        found?.map(\.bitPattern) == expected?.map(\.bitPattern)
                            || expected == nil && found?.allSatisfy { $0 == 0 } ?? true, "\(tensor.name)")
                    isLearned = isLearned || expected?.contains { $0 != 0 } ?? false
                }
                #expect(isLearned)
                compared += 1
            }
        }
        #expect(compared > 5)
    }

    @Test("resuming anywhere gives the uninterrupted rows, and another place is an error") func resume() throws {
        let place = try Place(try TemporaryFolder())
        let whole = try place.loader()
        var loader = whole
        for count in [0, 1, 30, 100, 7, 90] {
            _ = loader.batch(rows: count, stage: 0)
            let saved = try JSONDecoder().decode(
                MixedLoader.Position.self, from: try JSONEncoder().encode(loader.position))
            var (moved, same) = (try whole.moved(to: saved), loader)
            #expect(moved.batch(rows: 40, stage: 0) == same.batch(rows: 40, stage: 0))
        }
        var position = loader.position
        position.sources[0].row = 100_000
        #expect(throws: DataError.self) { try whole.moved(to: position) }
        position.sources[0] = .init(epoch: -1)
        #expect(throws: DataError.self) { try whole.moved(to: position) }
    }

    @Test("where nothing fits, or nothing is taught, that is said") func nothing() throws {
        let folder = try TemporaryFolder()
        func refusal(_ line: String) throws -> String {
            var recipe = TrainRecipe(stage: .sft)
            recipe.data = [try folder.write("one.jsonl", line)]
            let text = try RunText(recipe) { _ in }
            let error = #expect(throws: RunError.self) {
                _ = try RunMaterial(conversations: text, ConversationTests.tokenizer, .glm5, rowLength: 8, threads: 1)
            }
            return error.map { "\($0)" } ?? ""
        }
        let long = "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a long answer, all in all\"}]}"
        #expect(
            try refusal(long).contains("1 are longer than a row of 8 tokens, in 0 nothing is taught; give a greater"))
        let untaught = "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}"
        #expect(try refusal(untaught).contains("in 1 nothing is taught"))
        // Of several lengths the shortest may be too short.
        let store = TokenStore([[1, 2, 3]], taught: [[false, false, true]])
        #expect(throws: RunError.self) { try ConversationRows(store, length: 2, padding: 0, seed: 0) }
        var rows = try ConversationRows(store, length: 4, padding: 9, seed: 0)
        #expect(rows.nextRow().tokens == [1, 2, 3, 9] && rows.rowCount == 1)
    }
}

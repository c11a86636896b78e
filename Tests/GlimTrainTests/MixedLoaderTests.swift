import Foundation
import GlimModel
import GlimText
import GlimTrain
import Testing

@Suite("rows of a mixture") struct MixedLoaderTests {
    private static let tokenizer: Tokenizer = {
        var trainer = TokenizerTrainer(vocabularySize: 320, threads: 1)
        trainer.add([Array("def f(x):\n    return x + 1\n#note #recall owl sand\n".utf8)])
        // 256 bytes and a few merges: always learnt.
        return try! trainer.train()
    }()

    private func material() throws -> RunMaterial {
        let folder = try TemporaryFolder()
        for i in 0..<6 {
            let text = (0..<60).map { "def f\($0)(x):\n    return x + \($0 * i)\n" }.joined()
            _ = try folder.write("part\(i % 2)/text\(i).py", text)
        }
        var recipe = TrainRecipe()
        recipe.data = [folder.url.path]
        return RunMaterial(try RunText(recipe) { _ in }, Self.tokenizer, threads: 1)
    }

    private func recipe() -> TrainRecipe {
        var recipe = TrainRecipe(stage: .midtrain)
        (recipe.contextLengths, recipe.contextShares, recipe.batchTokens) = ([128, 256], [], 512)
        return recipe
    }

    private func loader(_ recipe: TrainRecipe, _ material: RunMaterial) throws -> MixedLoader {
        try MixedLoader(recipe, material) { _ in }
    }

    @Test("every row has its length, each kind its share, and the same recipe the same rows") func shares() throws {
        let material = try material()
        var (first, second) = (try loader(recipe(), material), try loader(recipe(), material))
        let rows = first.batch(rows: 40, stage: 0)
        #expect(rows.allSatisfy { $0.tokens.count == 128 && $0.segments.reduce(0) { $0 + $1.count } == 128 })
        #expect(rows == second.batch(rows: 40, stage: 0))
        // text, repository, interleaved, retrieval, coreference
        #expect(first.position.taken == [12, 4, 2, 20, 2])
        let long = first.batch(rows: 20, stage: 1)
        #expect(long.allSatisfy { $0.tokens.count == 256 } && first.position.stage == 1)
        #expect(first.position.taken == [6, 2, 1, 10, 1])
        var other = recipe()
        other.seed = 1
        var third = try loader(other, material)
        #expect(third.batch(rows: 40, stage: 0) != rows)
    }

    @Test("resuming anywhere gives the uninterrupted rows") func resume() throws {
        let material = try material()
        let whole = try loader(recipe(), material)
        var loader = whole
        for stage in [0, 0, 1, 1] {
            _ = loader.batch(rows: 7, stage: stage)
            let saved = try JSONDecoder().decode(
                MixedLoader.Position.self, from: try JSONEncoder().encode(loader.position))
            var (moved, same) = (try whole.moved(to: saved), loader)
            #expect(moved.batch(rows: 9, stage: stage) == same.batch(rows: 9, stage: stage))
        }
        var position = loader.position
        position.stage = 2
        #expect(throws: DataError.badPosition("stage 2", why: "there are 2 stages")) { try whole.moved(to: position) }
        position = loader.position
        position.sources.removeLast()
        #expect(throws: DataError.badPosition("in 4 sources", why: "the mixture has 5")) {
            try whole.moved(to: position)
        }
        // Of each kind of source: no place in a damaged file is gone on from, and none traps.
        for source in 0..<5 {
            for row in [-1, .max] {
                position = loader.position
                position.sources[source].row = row
                #expect(throws: DataError.self) { try whole.moved(to: position) }
            }
        }
    }

    @Test("what is not taught is no target") func masks() throws {
        let store = TokenStore([[1, 2, 3, 4]], taught: [[true, false, true, true]])
        let row = PackedRow(store, length: 2, padding: 0)
        #expect(row.next == [-1, 3] && row.following == [[3, 4]] && row.followingTargets == [[4, -1]])
        #expect(store.fingerprint != TokenStore([[1, 2, 3, 4]]).fingerprint)
    }

    @Test("needles stand in short documents and in long ones, other facts in long ones") func shortNeedles() throws {
        let material = try material()
        func counts(_ kind: String) throws -> [Int] {
            var recipe = recipe()
            (recipe.mixture, recipe.contextLengths) = (["\(kind)=1"], [512])
            var (first, second) = (try loader(recipe, material), try loader(recipe, material))
            let rows = first.batch(rows: 24, stage: 0)
            #expect(rows.allSatisfy { $0.tokens.count == 512 } && rows == second.batch(rows: 24, stage: 0))
            return rows.map { row in row.segments.count { $0.count >= 48 } }
        }
        let needles = try counts("needle")
        #expect(needles.contains { $0 >= 4 } && needles.contains { $0 <= 2 }, "\(needles)")
        #expect(try counts("retrieval").allSatisfy { $0 <= 2 })
    }

    @Test("long rows are the same tokens in any context") func longRows() throws {
        let store = TokenStore([Array(0..<10), Array(100..<103), Array(200..<300)])
        func rows(_ context: Int) -> [PackedRow] {
            PackedLoader.longRows(store, length: 16, context: context, maximumRows: 2, padding: 0)
        }
        let (whole, cut) = (rows(16), rows(4))
        #expect(whole.map(\.tokens) == cut.map(\.tokens) && whole.map(\.next) == cut.map(\.next))
        #expect(whole[0].tokens == Array(200..<216) && whole[0].next.last == 216)
        #expect(whole[1].tokens == Array(0..<10) + Array(repeating: 0, count: 6) && whole[1].targetCount == 9)
        #expect(cut[0].segments.map(\.count) == [4, 4, 4, 4])
    }

    @Test("text kept in a file is the same text, of the same choices only") func keptText() throws {
        let folder = try TemporaryFolder()
        var recipe = TrainRecipe()
        recipe.data = [try folder.write("a.txt", "some text\nand more of it\n"), try folder.write("b.txt", "other")]
        let text = try RunText(recipe) { _ in }
        let file = folder.url.appending(path: "text")
        #expect(try RunText(file: file, of: recipe) == nil)
        try text.save(to: file)
        #expect(try RunText(file: file, of: recipe) == text)
        recipe.seed = 3
        #expect(try RunText(file: file, of: recipe) == nil)
        let bytes = try Data(contentsOf: file)
        for cut in [0, 10, bytes.count - 1] {
            try bytes.prefix(cut).write(to: file)
            #expect(throws: RunError.self) { try RunText(file: file, of: recipe) }
        }
    }
}

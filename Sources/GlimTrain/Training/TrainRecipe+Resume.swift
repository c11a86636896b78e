import Foundation

extension TrainRecipe {
    /// The recipe of a run that goes on: the recorded one, but for what changes no result.
    ///
    /// - Parameters:
    ///   - file: `recipe.json`, where `steps` beside `minutes` is what those came to.
    ///   - given: the values of this recipe that must be the recorded ones.
    func continuing(_ file: URL, given: Set<CodingKeys>) throws(RunError) -> TrainRecipe {
        let data: [UInt8]
        do throws(FileBytes.Problem) { data = try FileBytes.read(file.path, atMost: 1 << 20) } catch {
            throw RunError("\(file.path) cannot be read: \(error); put it back, or start a new --out")
        }
        var recorded: TrainRecipe
        do { recorded = try JSONDecoder().decode(TrainRecipe.self, from: Data(data)) } catch {
            let why = (error as? RecipeError).map { ": \($0)" } ?? " is damaged"
            throw RunError("\(file.path)\(why); start a new --out")
        }
        var checked = recorded
        if checked.steps != nil { checked.minutes = nil }
        do { try checked.validate() } catch { throw RunError("\(file.path): \(error); start a new --out") }
        for field in Self.fields where given.contains(field.key) {
            switch field.key {
            case .out, .threads: continue
            case .saveEvery: recorded.saveEvery = saveEvery
            default:
                let (before, now) = (field.get(recorded)?.description, field.get(self)?.description)
                if before == now { continue }
                let key = field.key.rawValue
                let began = before.map { "with \(key) = \($0)" } ?? "without \(key)"
                throw RunError(
                    "\(file.deletingLastPathComponent().path) was started \(began), not \(key) = \(now ?? "none"); "
                        + "resume without it, or start a new --out")
            }
        }
        (recorded.out, recorded.threads) = (out, threads)
        return recorded
    }
}

extension TrainRecipe {
    /// Reads a record. A key that the version which wrote it did not know has the default of its stage.
    ///
    /// - Throws: `DecodingError`, and `RecipeError` for a value that the key cannot have.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        self.init(stage: try values.decode(Stage.self, forKey: .stage))
        for field in Self.fields where values.contains(field.key) && field.key != .seed {
            if let wrong = field.set(&self, Value(values, field.key)) {
                throw RecipeError(key: field.key.rawValue, why: wrong)
            }
        }
        // May be more than an integer of TOML.
        seed = try values.decodeIfPresent(UInt64.self, forKey: .seed) ?? seed
    }
}

extension TrainRecipe.Value {
    fileprivate init(_ values: KeyedDecodingContainer<TrainRecipe.CodingKeys>, _ key: TrainRecipe.CodingKeys) {
        func read<T: Decodable>(_ type: T.Type, _ make: (T) -> Self) -> Self? {
            (try? values.decode(type, forKey: key)).map(make)
        }
        self =
            read(String.self, Self.text) ?? read(Bool.self, Self.flag) ?? read(Int.self, Self.integer)
            ?? read(Double.self, Self.number) ?? read([String].self, Self.texts) ?? read([Int].self, Self.integers)
            ?? read([Double].self, Self.numbers) ?? .other("something else")
    }
}

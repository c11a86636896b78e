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
        guard var recorded = try? JSONDecoder().decode(TrainRecipe.self, from: Data(data)) else {
            throw RunError("\(file.path) is damaged; start a new --out")
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
                throw RunError(
                    "\(file.deletingLastPathComponent().path) was started \(before.map { "with \(key) = \($0)" } ?? "without \(key)"), "
                        + "not \(key) = \(now ?? "none"); resume without it, or start a new --out")
            }
        }
        (recorded.out, recorded.threads) = (out, threads)
        return recorded
    }
}

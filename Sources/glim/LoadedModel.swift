import Foundation
import GlimModel

/// A model, and what memory it was loaded into.
struct LoadedModel {
    let model: Model
    /// Nil where no limit was given.
    var plan: MemoryPlan?
    /// Where is kept which experts were used.
    var counts: URL?

    /// Says what reading from disk came to, and keeps which experts were used for the next run. To be called at the end.
    func finish() {
        guard let stream = model.expertStream, let counts else { return }
        log(stream.statistics.line)
        do { try stream.counts.write(to: counts) } catch { log("note: \(error)") }
    }
}
